-- The lines of an order, locked in their order, as everybody does.
-- $1 text  order
select l.line_no, l.sku, l.ordered, l.reserved, l.shipped, l.unit_price_minor
from shipping.order_lines l
where l.order_id = $1
order by l.line_no
for no key update
