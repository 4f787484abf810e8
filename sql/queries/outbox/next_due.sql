-- How long until the next waiting row of these lanes is due, in microseconds; no row when none waits.
-- A day at most: a row may wait for infinity, which Postgres before 17 can't subtract from, nor any count in microseconds.
-- $1 integer  lanes owned, as a bit mask
-- $2 bigint   leaving out those that came due longer ago than so many microseconds, or null: see scan_due.sql
select (greatest(extract(epoch from least(o.available_at, clock_timestamp() + interval '1 day') - clock_timestamp()), 0)
        * 1000000)::bigint as after_us
from relay.outbox o
where o.state = 'waiting' and o.published_at is null and o.dead_at is null and (1 << o.lane) & $1 <> 0
  and o.available_at >= coalesce(now() - $2::bigint * interval '1 microsecond', '-infinity')
order by o.available_at
limit 1
