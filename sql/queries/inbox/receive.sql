-- Takes a message into the inbox: claimed, its first attempt counted; or held, if its key has an unfinished message
-- before it and order is asked for. Nothing is returned if the inbox has it already.
-- $1 text    consumer     $2 text    message id   $3 uuid    claim token      $4 bigint  claim, microseconds
-- $5 text    event type   $6 text    aggregate type          $7 text    aggregate id
-- $8 bigint  seq, or null $9 text    properties, as JSON     $10 bytea  body  $11 boolean  whether order is asked for
insert into relay.inbox (consumer, message_id, state, attempts, due_at, claim_token, done_at,
                         event_type, aggregate_type, aggregate_id, seq, properties, body)
select $1, $2,
       case when k.behind then 'held' else 'claimed' end,
       case when k.behind then 0 else 1 end,
       case when not k.behind then now() + $4::bigint * interval '1 microsecond' end,
       case when not k.behind then $3::uuid end,
       null, $5, $6, $7, $8::bigint, $9::text::json, $10
from (
    select $11::boolean and exists (
        select from relay.inbox i
        where i.consumer = $1 and i.aggregate_type = $6 and i.aggregate_id = $7 and i.seq < $8::bigint
          and i.state in ('claimed', 'retrying', 'held')) as behind
) k
on conflict do nothing
returning state
