-- A new secret; the one before goes on signing beside it for a while. Returns until when, or nothing if the caller has no
-- such endpoint in use.
-- $1 text  caller   $2 uuid  endpoint   $3 bytea  secret   $4 bigint  that while, microseconds
update shipping.webhook_endpoints e
set previous_secret = e.secret, previous_until = now() + $4 * interval '1 microsecond', secret = $3, version = e.version + 1
where e.caller = $1 and e.endpoint_id = $2 and e.disabled_at is null
returning to_json(e.previous_until)::text
