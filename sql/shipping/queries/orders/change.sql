-- Ends a change to an order, after its lines: where to, its state by its lines, a new version. Returns the version.
-- $1 text  order   $2 text  where to, as JSON
update shipping.orders o
set ship_to = $2::jsonb, version = o.version + 1, updated_at = now(),
    state = case when not exists (select from shipping.order_lines l where l.order_id = o.order_id and l.shipped < l.ordered)
                     then 'fulfilled'
                 when exists (select from shipping.order_lines l where l.order_id = o.order_id and l.shipped > 0)
                     then 'partially_fulfilled'
                 else 'open' end
where o.order_id = $1
returning o.version
