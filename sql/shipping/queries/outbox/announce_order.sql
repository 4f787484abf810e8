-- Tells what has happened to an order, with the order as it stands.
-- $1 text  order   $2 text  fact   $3 uuid  the shipment that caused it, or null   $4 text  headers, as JSON
select relay.enqueue('order', o.order_id, $2, jsonb_build_object(
    'order_id', o.order_id, 'version', o.version, 'state', o.state, 'shipment_id', $3::uuid,
    'lines', (select coalesce(jsonb_agg(jsonb_build_object(
                  'line', l.line_no, 'sku', l.sku, 'ordered', l.ordered, 'reserved', l.reserved,
                  'shipped', l.shipped) order by l.line_no), '[]')
              from shipping.order_lines l where l.order_id = o.order_id)), headers => $4::jsonb)
from shipping.orders o
where o.order_id = $1
