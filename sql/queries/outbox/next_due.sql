-- How long until the next waiting row of these lanes is due, in microseconds; no row when none waits.
-- $1 integer  lanes owned, as a bit mask
select (greatest(extract(epoch from o.available_at - clock_timestamp()), 0) * 1000000)::bigint as after_us
from relay.outbox o
where o.state = 'waiting' and o.published_at is null and o.dead_at is null and (1 << o.lane) & $1 <> 0
order by o.available_at
limit 1
