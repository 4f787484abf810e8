-- The next held message of a key, which is due now that the one before it is done or dead. Under the key's lock.
-- $1 text  consumer   $2 text  aggregate type   $3 text  aggregate id
update relay.inbox i
set state = 'retrying', due_at = now()
from (
    select h.message_id
    from relay.inbox h
    where h.consumer = $1 and h.aggregate_type = $2 and h.aggregate_id = $3
      and h.state in ('claimed', 'retrying', 'held')
    order by h.seq
    limit 1
) next
where i.consumer = $1 and i.message_id = next.message_id and i.state = 'held'
