-- Rows that failed and are tried again, those due next first, and how many there are. Of what waits the thousand rows that are
-- due next are looked at; rows scheduled for later by their producers wait among them.
-- $1 bigint  at most so many
select f.seq, f.aggregate_type, f.aggregate_id, f.event_type, f.attempts,
       extract(epoch from f.available_at - clock_timestamp())::double precision as due_in,
       extract(epoch from clock_timestamp() - f.first_failed_at)::double precision as failing_for,
       f.last_error, count(*) over () as retrying
from (
    select o.seq, o.aggregate_type, o.aggregate_id, o.event_type, o.attempts, o.available_at, o.first_failed_at, o.last_error
    from relay.outbox o
    where o.state = 'waiting' and o.published_at is null and o.dead_at is null and isfinite(o.available_at)
    order by o.available_at limit 1000
) f
where f.first_failed_at is not null
order by f.available_at, f.seq
limit $1
