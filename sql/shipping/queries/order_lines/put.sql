-- Changes lines of an order, and adds those that it does not have.
-- $1 text  order   $2 smallint[]  lines   $3 text[]  what   $4 integer[]  how many   $5 bigint[]  price of one, minor units
with wanted as (
    select n.line_no, n.sku, n.ordered, n.price
    from unnest($2::smallint[], $3::text[], $4::integer[], $5::bigint[]) as n (line_no, sku, ordered, price)
), changed as (
    update shipping.order_lines l set sku = w.sku, ordered = w.ordered, unit_price_minor = w.price
    from wanted w
    where l.order_id = $1 and l.line_no = w.line_no
    returning l.line_no
)
insert into shipping.order_lines (order_id, line_no, sku, ordered, unit_price_minor)
select $1, w.line_no, w.sku, w.ordered, w.price
from wanted w
where not exists (select from changed c where c.line_no = w.line_no)
