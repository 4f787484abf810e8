-- Dead rows that nobody has dealt with, the oldest seq first: so that what is listed is what a replay takes first.
-- A parameter that is null selects everything.
-- $1 uuid[]  event ids           $2 text    event type      $3 text    aggregate type   $4 text   aggregate id
-- $5 text    dead reason         $6 bigint  died at or after, microseconds since 1970   $7 bigint  died before
-- $8 bigint  after this seq      $9 bigint  at most so many rows
-- Read through the index of dead rows; the filters then cost what there are dead rows, never what the table holds.
select o.seq, o.generation, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type, o.dead_reason,
       o.attempts, o.replays, o.created_at, o.dead_at, o.last_error
from relay.outbox o
where o.dead_at is not null and o.resolved_at is null
  and ($1::uuid[] is null or o.event_id = any ($1))
  and ($2::text is null or o.event_type = $2)
  and ($3::text is null or o.aggregate_type = $3)
  and ($4::text is null or o.aggregate_id = $4)
  and ($5::text is null or o.dead_reason = $5)
  and ($6::bigint is null or o.dead_at >= 'epoch'::timestamptz + $6 * interval '1 microsecond')
  and ($7::bigint is null or o.dead_at < 'epoch'::timestamptz + $7 * interval '1 microsecond')
  and o.seq > $8
order by o.seq
limit $9
