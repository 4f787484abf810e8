-- Records confirms of rows that head a held key, and lets each key's held rows go, in one statement: a crash in
-- between would strand them.
-- any (array[..]): see mark_published.sql.
-- $1 bigint[] seqs   $2 integer[] their generations
with marked as (
    update relay.outbox o
    set published_at = now()
    from unnest($1::bigint[], $2::integer[]) as sent (seq, generation)
    where o.seq = any (array[sent.seq]) and o.generation = sent.generation and o.published_at is null and o.dead_at is null
    returning o.seq, o.aggregate_type, o.aggregate_id
)
update relay.held_keys k
set reason = 'releasing', due_at = null, paused_by = null
from marked m
where k.aggregate_type = m.aggregate_type and k.aggregate_id = m.aggregate_id and k.head_seq = m.seq
