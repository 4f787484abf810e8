-- Makes dead rows live again, once each, and writes down who did it. Guarded by dead_at and by the generation that was
-- seen: a row that somebody else replayed or discarded meanwhile is left alone, so repeating this changes nothing.
-- $1 bigint[]  seqs      $2 integer[]  their generations
-- $3 text      actor     $4 text       the filter, as JSON   $5 text  note   $6 text  channel to notify
-- A row whose key goes on is due at once and takes its turn by the due scan. A row whose key is parked joins the rows
-- held there, and if it is the head, the key is released: held rows go out in seq order, so several dead rows of one
-- key do too, in whatever batches they come.
-- Locks: outbox rows by seq, then keys, as relay's own writes do. A parked key stays locked until the end: were it
-- discarded in between, its entry could be forgotten before these rows are seen behind it.
with chosen as (
    select o.seq, o.aggregate_type, o.aggregate_id
    from relay.outbox o
    join unnest($1::bigint[], $2::integer[]) as seen (seq, generation)
      on seen.seq = o.seq and seen.generation = o.generation
    where o.dead_at is not null and o.resolved_at is null
    order by o.seq
    for update of o
), parked as (
    select k.aggregate_type, k.aggregate_id
    from relay.held_keys k
    where k.reason = 'parked'
      and (k.aggregate_type, k.aggregate_id) in (select c.aggregate_type, c.aggregate_id from chosen c)
    order by k.aggregate_type, k.aggregate_id
    for update of k
), replayed as (
    update relay.outbox o
    set dead_at = null,
        dead_reason = null,
        state = case when p.aggregate_id is null then 'waiting' else 'held' end,
        available_at = now(),
        attempts = 0,
        generation = o.generation + 1,
        replays = o.replays + 1
    from chosen c
    left join parked p on p.aggregate_type = c.aggregate_type and p.aggregate_id = c.aggregate_id
    where o.seq = c.seq
    returning o.seq, o.aggregate_type, o.aggregate_id
), released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null, paused_by = null
    from replayed r
    where k.aggregate_type = r.aggregate_type and k.aggregate_id = r.aggregate_id
      and k.head_seq = r.seq and k.reason = 'parked'
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $3, 'replay', $4::text::jsonb, count(*), $5::text from replayed having count(*) > 0
)
select count(*) as affected, case when count(*) > 0 then pg_notify($6, '')::text end as notified
from replayed
