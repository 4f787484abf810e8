-- Held rows of keys that are being released, in seq order within a key, a bounded number of each.
-- $1 integer  lanes owned, as a bit mask   $2 text  rows relay has already, as int8multirange
-- $3 bigint   at most so many rows         $4 integer   largest payload to fetch, bytes of its text
-- $5 bigint   at most so many of a key    $6 bigint[]  rows whose keys to leave out
-- $7 bigint[] rows from which on to look for those of their keys: what is in front of them is known, and to step over all
--             that went out since somebody's old snapshot may take long
with queued as materialized (
    select q.aggregate_type, q.aggregate_id, min(q.seq) as seq
    from relay.outbox q
    where q.seq = any ($7)
    group by q.aggregate_type, q.aggregate_id
)
select o.seq, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type,
       case when octet_length(t.payload) <= $4 then t.payload end as payload,
       case when octet_length(t.headers) <= 1048576 then t.headers end as headers,
       o.exchange, o.routing_key, o.created_at, true as due, o.attempts, o.generation, o.lane,
       o.first_failed_at, o.replays, o.suspect, null::bigint as head_seq
from (
    select k.since, o.*
    from (
        select k.aggregate_type, k.aggregate_id, k.since, coalesce(q.seq, 0) as from_seq
        from (
            select k.aggregate_type, k.aggregate_id, k.since
            from relay.held_keys k
            where k.reason = 'releasing' and (1 << k.lane) & $1 <> 0
              and not exists (select from relay.outbox a
                              where a.seq = any ($6) and a.aggregate_type = k.aggregate_type
                                and a.aggregate_id = k.aggregate_id)
            order by k.since
            limit 1000
        ) k
        left join queued q on q.aggregate_type = k.aggregate_type and q.aggregate_id = k.aggregate_id
    ) k
    cross join lateral (
        select *
        from relay.outbox h
        where h.aggregate_type = k.aggregate_type and h.aggregate_id = k.aggregate_id and h.seq >= k.from_seq
          and h.state = 'held' and h.published_at is null and h.dead_at is null and not h.seq <@ (select $2::text::int8multirange)
        order by h.seq
        limit $5
    ) o
    order by k.since, o.aggregate_type, o.aggregate_id, o.seq
    limit $3
) o
cross join lateral (
    select case when $4 >= 0 then o.payload::text end as payload, case when $4 >= 0 then o.headers::text end as headers
    offset 0
) t
order by o.since, o.aggregate_type, o.aggregate_id, o.seq
