-- How many dead rows operators have replayed and discarded so far, whichever process they used.
select coalesce(sum(a.affected) filter (where a.action = 'replay'), 0)::bigint as replayed,
       coalesce(sum(a.affected) filter (where a.action = 'discard'), 0)::bigint as discarded
from relay.audit a
