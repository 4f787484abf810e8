-- Lets a parked key go on without its head, and writes down who did it. The head stays dead: replayed later, it comes after
-- those that went before it.
-- $1 text  aggregate type   $2 text  aggregate id   $3 bigint  the head as seen
-- $4 text  actor            $5 text  note           $6 text    channel to notify
with released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null
    where k.aggregate_type = $1 and k.aggregate_id = $2 and k.head_seq = $3 and k.reason = 'parked'
      and k.paused_by is null
    returning k.head_seq
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $4, 'release',
           jsonb_build_object('aggregate_type', $1::text, 'aggregate_id', $2::text, 'seq', r.head_seq), 1, $5::text
    from released r
)
select count(*) as affected, case when count(*) > 0 then pg_notify($6, '')::text end as notified
from released
