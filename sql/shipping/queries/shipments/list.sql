-- Shipments for people, the longest unchanged first.
-- $1 text  state, or null   $2 text  order, or null   $3 bigint  at most so many
select s.shipment_id, s.order_id, s.state, (extract(epoch from now() - s.updated_at))::float8, coalesce(s.reason, ''),
       coalesce((select string_agg(t.step || ' ' || t.subject, ', ' order by t.step, t.subject) from shipping.steps t
                 where t.shipment_id = s.shipment_id and (t.stalled or t.state = 'failed')), '')
from shipping.shipments s
where ($1::text is null or s.state = $1) and ($2::text is null or s.order_id = $2)
order by s.updated_at
limit $3
