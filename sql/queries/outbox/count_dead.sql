-- How many rows list_dead would find, counted to a limit.
-- As in list_dead:
-- $1 uuid[]  event ids           $2 text    event type      $3 text    aggregate type   $4 text   aggregate id
-- $5 text    dead reason         $6 bigint  died at or after, microseconds since 1970   $7 bigint  died before
-- $8 bigint  count to this
select count(*) as dead
from (
    select
    from relay.outbox o
    where o.dead_at is not null and o.resolved_at is null
      and ($1::uuid[] is null or o.event_id = any ($1))
      and ($2::text is null or o.event_type = $2)
      and ($3::text is null or o.aggregate_type = $3)
      and ($4::text is null or o.aggregate_id = $4)
      and ($5::text is null or o.dead_reason = $5)
      and ($6::bigint is null or o.dead_at >= 'epoch'::timestamptz + $6 * interval '1 microsecond')
      and ($7::bigint is null or o.dead_at < 'epoch'::timestamptz + $7 * interval '1 microsecond')
    limit $8
) d
