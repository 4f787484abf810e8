-- An order with its lines. Returns how many orders were added: none, if there is one of this id.
-- $1 text  order         $2 text  currency   $3 text  where to, as JSON
-- $4 smallint[]  lines   $5 text[]  what     $6 integer[]  how many   $7 bigint[]  price of one, minor units
with added as (
    insert into shipping.orders (order_id, currency, ship_to) values ($1, $2, $3::jsonb)
    on conflict do nothing
    returning order_id
), lines as (
    insert into shipping.order_lines (order_id, line_no, sku, ordered, unit_price_minor)
    select a.order_id, n.line_no, n.sku, n.ordered, n.price
    from added a, unnest($4::smallint[], $5::text[], $6::integer[], $7::bigint[]) as n (line_no, sku, ordered, price)
)
select count(*) from added
