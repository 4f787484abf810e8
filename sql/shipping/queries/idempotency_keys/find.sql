-- The answer that is kept under a key.
-- $1 text  caller   $2 text  key
select k.fingerprint, k.status, k.headers::text, k.body
from shipping.idempotency_keys k
where k.caller = $1 and k.key = $2 and k.expires_at > now()
