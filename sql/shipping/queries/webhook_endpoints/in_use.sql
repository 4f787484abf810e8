-- Where webhooks go: the endpoints in use, the newest first.
-- $1 bigint  at most so many
select e.endpoint_id, e.caller, e.url
from shipping.webhook_endpoints e
where e.disabled_at is null
order by e.created_at desc, e.endpoint_id
limit $1
