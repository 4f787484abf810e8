-- Disables the endpoint of a webhook that had all its attempts, if it failed for long and nothing reached the endpoint
-- all that time. What may have reached it was begun in the same days, so no older delivery is looked at.
-- $1 uuid  shipment   $2 smallint  party   $3 text  what the webhook says
-- $4 bigint  for so many microseconds, at least   $5 text  why
update shipping.webhook_endpoints e
set disabled_at = now(), disabled_reason = $5, version = e.version + 1
from shipping.notifications n join shipping.deliveries d using (notification_id)
where n.shipment_id = $1 and n.party_no = $2 and n.kind = $3
  and e.endpoint_id = d.endpoint_id and e.disabled_at is null
  and d.created_at <= now() - $4::bigint * interval '1 microsecond'
  and not exists (
      select from shipping.deliveries o
      where o.endpoint_id = d.endpoint_id and o.created_at > d.created_at - interval '14 days'
        and o.state = 'delivered' and o.finished_at >= d.created_at)
