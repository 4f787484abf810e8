-- How long until something is due, in microseconds; no row when nothing waits. A day at most.
-- $1 text  consumer
select (greatest(extract(epoch from least(i.due_at, clock_timestamp() + interval '1 day') - clock_timestamp()), 0)
        * 1000000)::bigint as after_us
from relay.inbox i
where i.consumer = $1 and i.state in ('claimed', 'retrying')
order by i.due_at
limit 1
