-- Its owner wants nothing sent there any more. Kept, for deliveries name it. Returns a row if the endpoint is the caller's.
-- $1 text  caller   $2 uuid  endpoint
update shipping.webhook_endpoints e
set disabled_reason = case when e.disabled_at is null then 'withdrawn by its owner' else e.disabled_reason end,
    version = e.version + (e.disabled_at is null)::integer,
    disabled_at = coalesce(e.disabled_at, now())
where e.caller = $1 and e.endpoint_id = $2
returning true
