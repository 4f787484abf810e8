-- Keeps the carrier's id of a case before anything is bought by it. Returns the id that holds: the first one stored.
-- $1 uuid  shipment   $2 smallint  case   $3 text  the carrier's id   $4 text  the rate chosen, or null
update shipping.cases
set rate_id = case when carrier_shipment_id is null then $4 else rate_id end,
    carrier_shipment_id = coalesce(carrier_shipment_id, $3)
where shipment_id = $1 and case_no = $2
returning carrier_shipment_id
