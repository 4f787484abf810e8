-- An order, locked for a change. Its lines are locked before it, as by whoever ships from it.
-- $1 text  order
select o.version, o.currency, o.ship_to::text as ship_to
from shipping.orders o
where o.order_id = $1
for no key update
