-- Keeps what an event says of an order, unless something newer is kept.
-- $1 text  order   $2 bigint  its version   $3 text  the event, as JSON
insert into shipping.order_views as v (order_id, version, body) values ($1, $2, $3::jsonb)
on conflict (order_id) do update set version = excluded.version, body = excluded.body, updated_at = now()
where v.version < excluded.version
