-- A shipment as it stands, without a lock: to look at.
-- $1 uuid  shipment
select s.order_id, s.state, s.undo, s.quantities, s.version
from shipping.shipments s
where s.shipment_id = $1
