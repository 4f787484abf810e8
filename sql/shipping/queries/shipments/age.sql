-- How old a shipment is, in microseconds.
-- $1 uuid  shipment
select (extract(epoch from clock_timestamp() - s.created_at) * 1000000)::bigint
from shipping.shipments s
where s.shipment_id = $1
