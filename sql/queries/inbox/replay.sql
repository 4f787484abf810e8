-- Makes dead messages due again, once each, and writes down who did it. Guarded by the time of death that was seen: what
-- somebody else replayed or discarded meanwhile, or what has died anew, is left alone.
-- $1 text  consumer   $2 text[]  message ids   $3 bigint[]  their dead_at, microseconds since 1970
-- $4 text  actor      $5 text    the filter, as JSON        $6 text  note
with chosen as (
    select i.message_id
    from relay.inbox i
    join unnest($2::text[], $3::bigint[]) as seen (message_id, dead_us)
      on seen.message_id = i.message_id and i.dead_at = 'epoch'::timestamptz + seen.dead_us * interval '1 microsecond'
    where i.consumer = $1 and i.state = 'dead' and i.resolved_at is null
    order by i.message_id
    for update of i
), replayed as (
    update relay.inbox i
    set state = 'retrying', due_at = now(), dead_at = null, reason = null, attempts = 0, replays = i.replays + 1
    from chosen c
    where i.consumer = $1 and i.message_id = c.message_id
    returning 1
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $4, 'replay_inbox', $5::text::jsonb, count(*), $6::text from replayed having count(*) > 0
)
select count(*) as affected from replayed
