-- Ready rows in a range of seq, in order. Used for new rows (from the cursor on) and for stragglers (up to it).
-- $1 bigint   after this seq               $2 bigint    up to this seq, inclusive
-- $3 integer  lanes owned, as a bit mask   $4 text  rows relay has already, as int8multirange
-- $5 bigint   at most so many rows         $6 integer   largest payload to fetch, bytes of its text
-- $7 boolean  whether any key may be held
-- Why a payload can be null: one that is too large must not reach relay's memory. Its stored size says nothing: a number
-- of ten bytes can be 131,072 digits. So it is turned into text once, here (offset 0 keeps it from being done twice), which
-- sending it as jsonb would do as well. Text beyond what Postgres can build fails the statement; the scanner then asks for
-- that row alone with $6 = -1, and gets it without. Hence the limit inside: no row but those asked for is turned into text.
select o.seq, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type,
       case when octet_length(t.payload) <= $6 then t.payload end as payload,
       case when octet_length(t.headers) <= 1048576 then t.headers end as headers,
       o.exchange, o.routing_key, o.created_at, o.available_at <= clock_timestamp() as due, o.attempts, o.generation, o.lane,
       o.first_failed_at, o.replays, o.suspect,
       case when $7 then (select h.head_seq from relay.held_keys h
                          where h.aggregate_type = o.aggregate_type and h.aggregate_id = o.aggregate_id) end as head_seq
from (
    select *
    from relay.outbox o
    where o.state = 'ready' and o.published_at is null and o.dead_at is null
      and o.seq > $1 and o.seq <= $2 and (1 << o.lane) & $3 <> 0 and not o.seq <@ (select $4::text::int8multirange)
    order by o.seq
    limit $5
) o
cross join lateral (
    select case when $6 >= 0 then o.payload::text end as payload, case when $6 >= 0 then o.headers::text end as headers
    offset 0
) t
order by o.seq
