-- The keys with the most unfinished rows, among the first 10,000 ready and 10,000 held ones.
-- $1 bigint  ready rows at or below this seq need not be looked for: see backlog.sql
-- $2 bigint  at most so many keys
select u.aggregate_type, u.aggregate_id, count(*) filter (where not u.held) as ready, count(*) filter (where u.held) as held
from (
    (select o.aggregate_type, o.aggregate_id, false as held from relay.outbox o
     where o.state = 'ready' and o.published_at is null and o.dead_at is null and o.seq > $1
     order by o.seq limit 10000)
    union all
    (select o.aggregate_type, o.aggregate_id, true as held from relay.outbox o
     where o.state = 'held' and o.published_at is null and o.dead_at is null
     order by o.aggregate_type, o.aggregate_id, o.seq limit 10000)
) u
group by u.aggregate_type, u.aggregate_id
having count(*) > 1
order by count(*) desc, u.aggregate_type, u.aggregate_id
limit $2
