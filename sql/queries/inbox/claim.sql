-- Claims what is due: retries whose time has come, and claims that have run out because their worker is gone. A retry's
-- attempt is counted here, committed before the work starts. An attempt whose claim ran out was counted when it was claimed;
-- it is claimed so that it can be written down as the failure it is. What has had all its attempts, or is to die anyway, is
-- claimed for its burial; then no attempt is counted.
-- $1 text    consumer          $2 bigint  claim, microseconds   $3 bigint  at most so many rows
-- $4 integer attempts allowed  $5 text    the reason of those that have had them all
-- $6 text    what went wrong with an attempt whose claim ran out
with due as (
    select i.message_id, i.state = 'claimed' as ran_out
    from relay.inbox i
    where i.consumer = $1 and i.state in ('claimed', 'retrying') and i.due_at <= now()
    order by i.due_at
    limit $3
    for update skip locked
)
update relay.inbox i
set state = 'claimed',
    claim_token = gen_random_uuid(),
    due_at = now() + $2::bigint * interval '1 microsecond',
    attempts = i.attempts + case when not due.ran_out and i.reason is null and i.attempts < $4 then 1 else 0 end,
    reason = case when i.reason is null and i.attempts >= $4 then $5 else i.reason end,
    first_failed_at = case when due.ran_out then coalesce(i.first_failed_at, now()) else i.first_failed_at end,
    last_error = case when due.ran_out and i.reason is null then $6 else i.last_error end
from due
where i.consumer = $1 and i.message_id = due.message_id
returning i.message_id, i.claim_token, i.attempts, i.event_type, i.aggregate_type, i.aggregate_id, i.seq,
          i.properties::text as properties, i.body, i.last_error, i.first_failed_at, i.replays, i.reason,
          due.ran_out and i.reason is null as ran_out
