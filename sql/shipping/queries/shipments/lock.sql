-- A shipment, locked: whoever decides about it holds this lock from reading to writing, and it gives its events their
-- order. The ledger is read after, by a statement of its own: one that joined it would see it as it was before it waited.
-- $1 uuid  shipment
select s.order_id, s.state, s.undo, s.quantities, s.version
from shipping.shipments s
where s.shipment_id = $1
for no key update
