-- An order as its latest event told it, and when that was taken in.
-- $1 text  order
select v.version, (v.body - 'shipment_id' || jsonb_build_object('as_of', v.updated_at))::text as body
from shipping.order_views v
where v.order_id = $1
