-- Records confirms of those rows that nobody else has locked, and says which. Only when marking all at once has run into
-- a lock: locking first costs more.
-- any (array[..]): see mark_published.sql.
-- $1 bigint[] seqs   $2 integer[] their generations
with free as (
    select o.seq
    from relay.outbox o
    join unnest($1::bigint[], $2::integer[]) as sent (seq, generation)
      on o.seq = any (array[sent.seq]) and o.generation = sent.generation
    where o.published_at is null and o.dead_at is null
    order by sent.seq
    for update of o skip locked
), marked as (
    update relay.outbox o set published_at = now() from free where o.seq = any (array[free.seq])
    returning o.seq, o.aggregate_type, o.aggregate_id
), released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null, paused_by = null
    from marked m
    where k.aggregate_type = m.aggregate_type and k.aggregate_id = m.aggregate_id and k.head_seq = m.seq
)
-- What is neither marked nor unfinished needs no mark any more, so only what is left unfinished is named.
select o.seq
from relay.outbox o
join unnest($1::bigint[], $2::integer[]) as sent (seq, generation)
  on o.seq = any (array[sent.seq]) and o.generation = sent.generation
where o.published_at is null and o.dead_at is null and not exists (select from marked m where m.seq = sent.seq)
