-- Ships the shipment's share of its order's lines, once. Returns whether it did: not, if that was done already.
-- $1 uuid  shipment
-- Lines are locked in their order, as everybody does.
with moved as (
    update shipping.shipments s set quantities = 'fulfilled'
    where s.shipment_id = $1 and s.quantities = 'reserved'
    returning s.shipment_id
), share as (
    select c.order_id, c.line_no, sum(c.quantity)::integer as quantity
    from shipping.case_lines c join moved using (shipment_id)
    group by c.order_id, c.line_no
), locked as (
    select l.order_id, l.line_no
    from shipping.order_lines l
    where (l.order_id, l.line_no) in (select h.order_id, h.line_no from share h)
    order by l.order_id, l.line_no
    for no key update
), lines as (
    update shipping.order_lines l set reserved = l.reserved - h.quantity, shipped = l.shipped + h.quantity
    from share h join locked using (order_id, line_no)
    where l.order_id = h.order_id and l.line_no = h.line_no
    returning 1
)
select exists (select from moved)
