-- How much is unfinished, and how old the oldest due row is. Counted to 10,000, so that it costs the same on any backlog.
-- (Postgres before 17 can't subtract an infinite created_at, which any producer may write.)
select
    (select count(*) from (select from relay.outbox o
        where o.state = 'ready' and o.published_at is null and o.dead_at is null limit 10000) r) as ready,
    (select count(*) from (select from relay.outbox o
        where o.state = 'waiting' and o.published_at is null and o.dead_at is null limit 10000) w) as waiting,
    (select count(*) from (select from relay.outbox o
        where o.state = 'held' and o.published_at is null and o.dead_at is null limit 10000) h) as held,
    (select count(*) from (select from relay.outbox o
        where o.dead_at is not null and o.resolved_at is null limit 10000) d) as dead,
    (select count(*) from (select from relay.held_keys limit 10000) k) as held_keys,
    greatest(0, extract(epoch from clock_timestamp() - least(
        (select o.created_at from relay.outbox o
         where o.state = 'ready' and o.published_at is null and o.dead_at is null and o.available_at <= now()
           and isfinite(o.created_at)
         order by o.seq limit 1),
        (select min(w.created_at) from (
            select o.created_at from relay.outbox o
            where o.state = 'waiting' and o.published_at is null and o.dead_at is null and o.first_failed_at is not null
              and isfinite(o.created_at)
            order by o.available_at limit 1000) w)
    )))::double precision as oldest_age
