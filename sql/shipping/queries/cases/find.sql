-- What the label worker needs of a case.
-- $1 uuid  shipment   $2 smallint  case
select c.reference, c.carrier_shipment_id, c.rate_id, c.weight_grams, c.length_mm, c.width_mm, c.height_mm,
       c.refund, coalesce(s.verified_to, s.ship_to)::text as ship_to, s.ship_from::text as ship_from,
       (extract(epoch from s.created_at) * 1000000)::bigint
from shipping.cases c join shipping.shipments s using (shipment_id)
where c.shipment_id = $1 and c.case_no = $2
