-- How large a row's payload is as text, with the one that its producer wrote if an operator has edited it: to be asked before
-- either is fetched.
-- $1 uuid  event id, or null   $2 bigint  seq, or null
select octet_length(o.payload::text)::bigint + coalesce(octet_length(o.original_payload::text), 0) as bytes
from relay.outbox o
where o.event_id = $1 or o.seq = $2
