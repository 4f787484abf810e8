-- Gives the head of a retrying key up, lets the key go on without it, and writes down who did it. The row is dead, and dealt
-- with: no letter of it is published. Its generation rises, so that a relay that has it in hand changes nothing of it.
-- $1 text  aggregate type   $2 text  aggregate id   $3 bigint  the head as seen
-- $4 text  dead reason      $5 text  actor          $6 text    note              $7 text  channel to notify
-- Locks the row, then the key, as relay's own writes do.
with head as (
    select o.seq
    from relay.held_keys k
    join relay.outbox o on o.seq = k.head_seq
    where k.aggregate_type = $1 and k.aggregate_id = $2 and k.head_seq = $3 and k.reason = 'retrying'
      and o.published_at is null and o.dead_at is null
    for update of o
), skipped as (
    update relay.outbox o
    set dead_at = now(), resolved_at = now(), dead_reason = $4, generation = o.generation + 1
    from head h
    where o.seq = h.seq
    returning o.seq, o.event_id
), released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null, paused_by = null
    from skipped s
    where k.aggregate_type = $1 and k.aggregate_id = $2 and k.head_seq = s.seq and k.reason = 'retrying'
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $5, 'skip',
           jsonb_build_object('aggregate_type', $1::text, 'aggregate_id', $2::text, 'seq', s.seq,
                              'event_ids', jsonb_build_array(s.event_id)),
           1, $6::text
    from skipped s
)
select count(*) as affected, case when count(*) > 0 then pg_notify($7, '')::text end as notified
from skipped
