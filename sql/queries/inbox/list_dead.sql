-- A consumer's dead messages that nobody has dealt with, the longest dead first. A parameter that is null selects
-- everything.
-- $1 text    consumer          $2 text[]  message ids        $3 text    event type   $4 text    aggregate type
-- $5 text    aggregate id      $6 text    reason             $7 bigint  died at or after, microseconds since 1970
-- $8 bigint  died before       $9 bigint  after this time of death ...               $10 text   ... and message id
-- $11 bigint at most so many
select i.message_id, i.event_type, i.aggregate_type, i.aggregate_id, i.seq, i.reason, i.attempts, i.replays,
       i.received_at, i.dead_at, i.last_error,
       coalesce(i.received_at < now() - (select c.horizon from relay.consumers c where c.consumer = $1), false) as beyond
from relay.inbox i
where i.consumer = $1 and i.state = 'dead' and i.resolved_at is null
  and ($2::text[] is null or i.message_id = any ($2))
  and ($3::text is null or i.event_type = $3)
  and ($4::text is null or i.aggregate_type = $4)
  and ($5::text is null or i.aggregate_id = $5)
  and ($6::text is null or i.reason = $6)
  and ($7::bigint is null or i.dead_at >= 'epoch'::timestamptz + $7 * interval '1 microsecond')
  and ($8::bigint is null or i.dead_at < 'epoch'::timestamptz + $8 * interval '1 microsecond')
  and (i.dead_at, i.message_id) > ('epoch'::timestamptz + $9::bigint * interval '1 microsecond', $10::text)
order by i.dead_at, i.message_id
limit $11
