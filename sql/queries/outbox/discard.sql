-- Declares dead rows dealt with, once each, and writes down who did it: they stay in the table, published by nobody. A
-- key that was parked behind one goes on.
-- Parameters, guard and locks as in replay:
-- $1 bigint[]  seqs      $2 integer[]  their generations
-- $3 text      actor     $4 text       the filter, as JSON   $5 text  note   $6 text  channel to notify
with chosen as (
    select o.seq
    from relay.outbox o
    join unnest($1::bigint[], $2::integer[]) as seen (seq, generation)
      on seen.seq = o.seq and seen.generation = o.generation
    where o.dead_at is not null and o.resolved_at is null
    order by o.seq
    for update of o
), discarded as (
    update relay.outbox o
    set resolved_at = now()
    from chosen c
    where o.seq = c.seq
    returning o.seq, o.aggregate_type, o.aggregate_id
), released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null, paused_by = null
    from discarded d
    where k.aggregate_type = d.aggregate_type and k.aggregate_id = d.aggregate_id
      and k.head_seq = d.seq and k.reason = 'parked'
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $3, 'discard', $4::text::jsonb, count(*), $5::text from discarded having count(*) > 0
)
select count(*) as affected, case when count(*) > 0 then pg_notify($6, '')::text end as notified
from discarded
