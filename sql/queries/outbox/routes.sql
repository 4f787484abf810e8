-- Where rows were to go lately, and what the broker made of it: for `relay doctor`, which can't ask a broker whether a
-- message would find a queue without sending it.
-- $1 bigint   the newest so many rows are looked at, and as many of the newest dead ones that nobody has dealt with
-- $2 boolean  whether the routing key that rows without one get differs by aggregate
-- $3 bigint   at most so many destinations, those of the newest rows
-- Dead rows that somebody has dealt with are left out: they go nowhere.
-- A row that names its routing key has no other columns here; of others there is what the key is made of.
-- routed: when a row was last published there, so a queue took it. returned: when the last row was returned that is not
-- published yet; of one that is to be tried again, when it first failed.
with looked as (
    (select o.seq from relay.outbox o order by o.seq desc limit $1)
    union
    (select o.seq from relay.outbox o where o.dead_at is not null and o.resolved_at is null order by o.seq desc limit $1)
)
select o.exchange,
       o.routing_key,
       case when o.routing_key is null then o.aggregate_type end as aggregate_type,
       case when o.routing_key is null and $2 then o.aggregate_id end as aggregate_id,
       case when o.routing_key is null then o.event_type end as event_type,
       count(*) as rows,
       max(o.published_at) as routed,
       max(coalesce(o.dead_at, o.first_failed_at)) filter (
           where o.published_at is null
             and (o.dead_reason = 'unroutable'
                  or o.dead_at is null and o.last_error like 'returned by the broker: %')) as returned
from looked l join relay.outbox o on o.seq = l.seq
where o.resolved_at is null
group by 1, 2, 3, 4, 5
order by max(o.seq) desc
limit $3
