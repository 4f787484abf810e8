-- Dead rows that nobody has dealt with, by reason, and how many of them died after $1 and until $2. The newest 10,000 are
-- looked at.
-- $1 bigint  microseconds since 1970; null for no such count   $2 bigint  likewise
select coalesce(d.dead_reason, '') as reason, count(*) as dead,
       count(*) filter (where d.dead_at > 'epoch'::timestamptz + $1::bigint * interval '1 microsecond'
                          and d.dead_at <= 'epoch'::timestamptz + $2::bigint * interval '1 microsecond') as died
from (
    select o.dead_reason, o.dead_at from relay.outbox o
    where o.dead_at is not null and o.resolved_at is null
    order by o.seq desc limit 10000
) d
group by 1
order by 2 desc, 1
