-- Ready rows in a range of seq, in order. Used for new rows (from the cursor on) and for stragglers (up to it).
-- $1 bigint   after this seq               $2 bigint    up to this seq, inclusive
-- $3 integer  lanes owned, as a bit mask   $4 bigint[]  rows relay has already
-- $5 bigint   at most so many rows         $6 integer   largest payload to fetch, bytes of its text
-- $7 boolean  whether any key may be held
-- Why a payload can be null: one that is too large must not reach relay's memory. Only a stored size above a 256th of
-- the limit (no compression Postgres has does better than 255 to 1) pays for being measured.
-- Why clock_timestamp: now() is when the statement began, which may be before a row it sees was even begun.
-- Why no cast of the payload: one bad value would fail the batch for ever.
select o.seq, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type,
       case when pg_column_size(o.payload) <= $6 / 256 or octet_length(o.payload::text) <= $6 then o.payload end as payload,
       case when pg_column_size(o.headers) <= 512 or octet_length(o.headers::text) <= 1048576 then o.headers end as headers,
       o.exchange, o.routing_key, o.created_at, o.available_at <= clock_timestamp() as due, o.attempts, o.generation, o.lane,
       o.first_failed_at, o.replays, o.last_error,
       case when $7 then (select h.head_seq from relay.held_keys h
                          where h.aggregate_type = o.aggregate_type and h.aggregate_id = o.aggregate_id) end as head_seq
from relay.outbox o
where o.state = 'ready' and o.published_at is null and o.dead_at is null
  and o.seq > $1 and o.seq <= $2 and (1 << o.lane) & $3 <> 0 and o.seq <> all ($4)
order by o.seq
limit $5
