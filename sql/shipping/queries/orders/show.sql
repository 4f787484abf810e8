-- An order as it stands, in the shape of the read model: before its first event came in, or when that is too old.
-- $1 text  order
select o.version, jsonb_build_object(
    'order_id', o.order_id, 'version', o.version, 'state', o.state, 'as_of', now(),
    'lines', (select coalesce(jsonb_agg(jsonb_build_object(
                  'line', l.line_no, 'sku', l.sku, 'ordered', l.ordered, 'reserved', l.reserved,
                  'shipped', l.shipped) order by l.line_no), '[]')
              from shipping.order_lines l where l.order_id = o.order_id))::text as body
from shipping.orders o
where o.order_id = $1
