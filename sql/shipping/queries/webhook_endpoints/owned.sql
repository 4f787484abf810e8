-- A caller's endpoints as JSON, without their secrets: those out of use as well, with the reason, but those it withdrew.
-- $1 text  caller   $2 uuid  which one, or null for all
select e.endpoint_id, json_build_object('endpoint_id', e.endpoint_id, 'url', e.url, 'version', e.version, 'created_at', e.created_at,
           'previous_secret_until', case when e.previous_until > now() then e.previous_until end,
           'disabled_at', e.disabled_at, 'disabled_reason', e.disabled_reason)::text as body
from shipping.webhook_endpoints e
where e.caller = $1 and ($2::uuid is null or e.endpoint_id = $2)
  and e.disabled_reason is distinct from 'withdrawn by its owner'
order by e.created_at, e.endpoint_id
limit 1000
