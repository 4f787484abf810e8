-- The cases of a shipment that have a label: what parties are told of.
-- $1 uuid  shipment
select c.case_no, c.carrier, c.tracking_code
from shipping.cases c
where c.shipment_id = $1 and c.bought_at is not null
order by c.case_no
