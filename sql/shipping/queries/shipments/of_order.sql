-- The shipments of an order, oldest first, as JSON.
-- $1 text  order   $2 uuid  begin after this one, or null   $3 bigint  at most so many
select json_build_object('shipment_id', s.shipment_id, 'order_id', s.order_id, 'state', s.state, 'reason', s.reason,
           'version', s.version, 'tracking_code', s.tracking_code, 'created_at', s.created_at,
           'updated_at', s.updated_at)::text as body, s.shipment_id
from shipping.shipments s
where s.order_id = $1
  and ($2::uuid is null or (s.created_at, s.shipment_id)
                           > (select a.created_at, a.shipment_id from shipping.shipments a where a.shipment_id = $2))
order by s.created_at, s.shipment_id
limit $3
