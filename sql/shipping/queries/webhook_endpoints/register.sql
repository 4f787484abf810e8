-- Where somebody's webhooks go from now on.
-- $1 uuid  endpoint   $2 text  caller   $3 text  url   $4 bytea  secret   $5 bigint  endpoints a caller may have
-- Returns nothing if the caller has that many.
insert into shipping.webhook_endpoints (endpoint_id, caller, url, secret)
select $1, $2, $3, $4
where (select count(*) from shipping.webhook_endpoints e where e.caller = $2 and e.disabled_at is null) < $5
returning endpoint_id
