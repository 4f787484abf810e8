-- Waiting rows whose time has come, the longest due first. Parameters as in scan_ready, without the range:
-- $1 integer  lanes owned, as a bit mask   $2 text  rows relay has already, as int8multirange
-- $3 bigint   at most so many rows         $4 integer   largest payload to fetch, bytes of its text
-- $5 bigint   only those that came due within so many microseconds, or null: what did before is known, and to step over all
--             of it that went out since somebody's old snapshot may take long
select o.seq, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type,
       case when octet_length(t.payload) <= $4 then t.payload end as payload,
       case when octet_length(t.headers) <= 1048576 then t.headers end as headers,
       o.exchange, o.routing_key, o.created_at, true as due, o.attempts, o.generation, o.lane,
       o.first_failed_at, o.replays, o.suspect,
       (select h.head_seq from relay.held_keys h
        where h.aggregate_type = o.aggregate_type and h.aggregate_id = o.aggregate_id) as head_seq
from (
    select *
    from relay.outbox o
    where o.state = 'waiting' and o.published_at is null and o.dead_at is null
      and o.available_at <= now()
      and o.available_at >= coalesce(now() - $5::bigint * interval '1 microsecond', '-infinity')
      and (1 << o.lane) & $1 <> 0 and not o.seq <@ (select $2::text::int8multirange)
    order by o.available_at, o.seq
    limit $3
) o
cross join lateral (
    select case when $4 >= 0 then o.payload::text end as payload, case when $4 >= 0 then o.headers::text end as headers
    offset 0
) t
order by o.available_at, o.seq
