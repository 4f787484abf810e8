-- Rows of an aggregate key, the latest first, as far as they are found without looking through the table: those that are held
-- and those that are dead, by their indexes; the head that the key waits for; and all others among the latest of the table.
-- $1 text  aggregate type   $2 text  aggregate id   $3 bigint  at most so many   $4 bigint  how far back to look, in seqs
-- The first column is that seq: what came before it and is published was not looked for.
-- Said from both sides: of a range that is open Postgres expects a third of the table, and would read all of it.
with latest as (
    select coalesce(max(o.seq), 0) as newest, coalesce(max(o.seq), 0) - $4 as beyond from relay.outbox o
), found as (
    (select o.seq
     from relay.outbox o
     where o.seq > (select l.beyond from latest l) and o.seq <= (select l.newest from latest l)
       and o.aggregate_type = $1 and o.aggregate_id = $2
     order by o.seq desc
     limit $3)
    union
    (select o.seq
     from relay.outbox o
     where o.aggregate_type = $1 and o.aggregate_id = $2
       and o.state = 'held' and o.published_at is null and o.dead_at is null
     order by o.seq desc
     limit $3)
    union
    (select o.seq
     from relay.outbox o
     where o.dead_at is not null and o.resolved_at is null and o.aggregate_type = $1 and o.aggregate_id = $2
     order by o.seq desc
     limit $3)
    union
    select k.head_seq from relay.held_keys k where k.aggregate_type = $1 and k.aggregate_id = $2
)
select greatest((select l.beyond from latest l), 0) as beyond, o.seq, o.event_id, o.event_type,
       case when o.published_at is not null then 'published'
            when o.resolved_at is not null then 'discarded'
            when o.dead_at is not null then 'dead'
            else o.state end as state,
       o.created_at, o.available_at, o.published_at, o.dead_at, o.dead_reason, o.attempts, o.replays, o.last_error
from found f
join relay.outbox o on o.seq = f.seq
order by o.seq desc
limit $3
