-- Looks at the next rows in seq order, and says which of them nobody needs any more. Changes and locks nothing.
-- $1 bigint  after this seq   $2 bigint  at most so many rows are looked at
-- $3 bigint  published, or discarded, before this time, in microseconds since 1970
-- $4 bigint  dead before this time, whether anybody has dealt with it or not; null: such rows stay
-- Returns one row: the last seq looked at (null at the end of the table), how many rows that were, whether any of them was
-- made before these times, and the seqs found with what each is.
-- Through the primary key: rows are published about in the order in which they were made, so whoever walks from the oldest
-- on finds what is old, and may stop where all is young. An index on published_at would be paid for by every mark.
-- A dead row that its key waits behind stays: without it the key would wait for ever.
with cutoffs as (
    select 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' as finished,
           'epoch'::timestamptz + $4::bigint * interval '1 microsecond' as dead
), looked as (
    select o.seq, o.created_at, o.published_at, o.dead_at, o.resolved_at
    from relay.outbox o
    where o.seq > $1
    order by o.seq
    limit $2
), judged as materialized (
    select l.seq,
           l.created_at < greatest(c.finished, c.dead) as old,
           case when l.published_at < c.finished then 'published'
                when l.resolved_at < c.finished then 'discarded'
                when l.dead_at < c.dead and l.resolved_at is null
                     and not exists (select from relay.held_keys k where k.head_seq = l.seq) then 'dead'
           end as kind
    from looked l cross join cutoffs c
)
select max(j.seq) as upto,
       count(*) as looked,
       coalesce(bool_or(j.old), false) as old,
       coalesce(array_agg(j.seq order by j.seq) filter (where j.kind is not null), '{}') as seqs,
       coalesce(array_agg(j.kind order by j.seq) filter (where j.kind is not null), '{}') as kinds
from judged j
