-- How many rows were marked published after $1 and until $2, and how far down was looked: for rates.
-- There is no index on published_at (docs/architecture.md, "Retention"). But rows are published about in the order of their
-- seq, so a walk down from where that goes on, a thousand rows at a time, may end where a thousand have none. It looks at 6,000 rows at
-- least, since what is in flight lies in front of what is out, and at 50,000 at most; `more` says that it was cut off.
-- $1 bigint  microseconds since 1970   $2 bigint  likewise   $3 bigint  from this seq down
with recursive walk (step, low, found) as (
    select 0, $3::bigint + 1, 0::bigint
    union all
    select w.step + 1, b.low, b.found
    from walk w
    cross join lateral (
        select min(r.seq) as low,
               count(*) filter (where r.published_at > 'epoch'::timestamptz + $1::bigint * interval '1 microsecond'
                                  and r.published_at <= 'epoch'::timestamptz + $2::bigint * interval '1 microsecond') as found
        from (select o.seq, o.published_at from relay.outbox o where o.seq < w.low order by o.seq desc limit 1000) r
    ) b
    where w.step < 50 and (w.step < 6 or w.found > 0) and b.low is not null
)
select sum(found)::bigint as found, min(low) as low, bool_or(step = 50 and found > 0) as more
from walk
