-- An order's state by its lines, after they changed, with a new version. Returns the state.
-- $1 uuid  the shipment that changed them
update shipping.orders o
set state = case when not exists (select from shipping.order_lines l where l.order_id = o.order_id and l.shipped < l.ordered)
                     then 'fulfilled'
                 when exists (select from shipping.order_lines l where l.order_id = o.order_id and l.shipped > 0)
                     then 'partially_fulfilled'
                 else 'open' end,
    version = o.version + 1, updated_at = now()
from shipping.shipments s
where s.shipment_id = $1 and o.order_id = s.order_id
returning o.state
