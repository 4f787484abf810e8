-- Forgets keys whose time is up, a few at a time. A key that is used again meanwhile stays: it is looked at once more.
-- Returns a row for each.
-- $1 bigint  at most so many
delete from shipping.idempotency_keys k
using (select e.caller, e.key from shipping.idempotency_keys e where e.expires_at <= now()
       order by e.expires_at limit $1) e
where k.caller = e.caller and k.key = e.key and k.expires_at <= now()
returning 1
