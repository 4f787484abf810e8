-- Which endpoints of a caller are in use, of some.
-- $1 text  caller   $2 uuid[]  endpoints
select e.endpoint_id
from shipping.webhook_endpoints e
where e.caller = $1 and e.endpoint_id = any($2) and e.disabled_at is null
