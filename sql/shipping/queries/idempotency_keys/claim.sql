-- Keeps the answer to a request under its key, in the transaction of what the request does. Waits for another that is at
-- it (lock_timeout bounds that). Returns a row if the key was free or its time was up.
-- $1 text  caller   $2 text  key    $3 bytea  fingerprint   $4 smallint  status   $5 text  headers, as JSON
-- $6 bytea  body    $7 uuid  shipment, or null   $8 bigint  lifetime, microseconds
insert into shipping.idempotency_keys as k (caller, key, fingerprint, status, headers, body, shipment_id, expires_at)
values ($1, $2, $3, $4, $5::jsonb, $6, $7, now() + $8 * interval '1 microsecond')
on conflict (caller, key) do update
set fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers, body = excluded.body,
    shipment_id = excluded.shipment_id, created_at = now(), expires_at = excluded.expires_at
where k.expires_at <= now()
returning true
