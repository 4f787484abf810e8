-- How much is unfinished, and how old the oldest row is that should be out by now: for the gauges, and for `relay status`,
-- which may have no relay to ask. Counted to 10,000, so that it costs the same on any backlog.
-- A row's age begins when it was due, of one that was replayed when it is. A waiting row counts when it failed before, or is
-- overdue: then no relay lives to take it. A held row does not: its head does; but those of a key that was let go wait for relay, and of a hot one that may be
-- nearly all there are. Ready rows and these are aged by themselves as well: what is old there waits for relay, and what is old
-- among the waiting is refused by the broker again and again. Of keys let go the hundred that were held first are looked at.
-- Of dead rows the thousand that came first are looked at; of held keys ten thousand, but for those on their way.
-- $1 bigint  ready rows at or below this seq need not be looked for. While somebody's old snapshot is open, the index keeps an
-- entry for every row published meanwhile, and a count from the start goes through them all.
-- (Postgres before 17 can't subtract an infinite timestamp, and any producer may write one.)
select
    (select count(*) from (select from relay.outbox o
        where o.state = 'ready' and o.published_at is null and o.dead_at is null and o.seq > $1::bigint
        limit 10000) r) as ready,
    (select count(*) from (select from relay.outbox o
        where o.state = 'waiting' and o.published_at is null and o.dead_at is null limit 10000) w) as waiting,
    (select count(*) from (select from relay.outbox o
        where o.state = 'held' and o.published_at is null and o.dead_at is null limit 10000) h) as held,
    (select count(*) from (select from relay.outbox o
        where o.dead_at is not null and o.resolved_at is null limit 10000) d) as dead,
    (select count(*) from (select from relay.held_keys limit 10000) k) as held_keys,
    greatest(0, extract(epoch from clock_timestamp() - least(since.ready, since.released, since.waiting)))::double precision as oldest_age,
    greatest(0, extract(epoch from clock_timestamp() - least(since.ready, since.released)))::double precision
        as oldest_ready_age,
    greatest(0, extract(epoch from clock_timestamp() - since.dead))::double precision as oldest_dead_age,
    greatest(0, extract(epoch from clock_timestamp() - since.held))::double precision as oldest_held_age,
    (select o.seq from relay.outbox o
     where o.state = 'ready' and o.published_at is null and o.dead_at is null and o.seq > $1
     order by o.seq limit 1) as first_ready
from (
    select
        (select greatest(o.created_at, o.available_at) from relay.outbox o
         where o.state = 'ready' and o.published_at is null and o.dead_at is null and o.available_at <= now()
           and o.seq > $1 and isfinite(o.created_at) and isfinite(o.available_at)
         order by o.seq limit 1) as ready,
        (select min(h.since) from (
            select k.aggregate_type, k.aggregate_id from relay.held_keys k
            where k.reason = 'releasing'
            order by k.since limit 100) k
         cross join lateral (
            select greatest(o.created_at, o.available_at) as since from relay.outbox o
            where o.aggregate_type = k.aggregate_type and o.aggregate_id = k.aggregate_id
              and o.state = 'held' and o.published_at is null and o.dead_at is null
              and isfinite(o.created_at) and isfinite(o.available_at)
            order by o.seq limit 1) h) as released,
        (select min(case when w.first_failed_at is not null and w.replays = 0 then w.created_at
                         else greatest(w.created_at, w.available_at) end)
         from (
            select o.created_at, o.available_at, o.first_failed_at, o.replays from relay.outbox o
            where o.state = 'waiting' and o.published_at is null and o.dead_at is null
              and (o.first_failed_at is not null or o.available_at <= now())
              and isfinite(o.created_at) and isfinite(o.available_at)
            order by o.available_at limit 1000) w) as waiting,
        (select min(d.dead_at) from (
            select o.dead_at from relay.outbox o
            where o.dead_at is not null and o.resolved_at is null
            order by o.seq limit 1000) d) as dead,
        (select min(k.since) filter (where k.reason <> 'releasing' and k.paused_by is null) from (
            select h.since, h.reason, h.paused_by from relay.held_keys h limit 10000) k) as held
) since
