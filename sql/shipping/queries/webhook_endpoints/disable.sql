-- Disables an endpoint whose receiver said that it is gone, unless its owner changed it since it was called.
-- $1 uuid  endpoint   $2 bigint  the version that was called   $3 text  why
update shipping.webhook_endpoints
set disabled_at = now(), disabled_reason = $3, version = version + 1
where endpoint_id = $1 and version = $2 and disabled_at is null
