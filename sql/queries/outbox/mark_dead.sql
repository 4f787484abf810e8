-- Rows whose dead letter the broker has confirmed. Under on_dead = skip their key goes on; under park it is held
-- behind them until an operator decides.
-- any (array[..]): see mark_published.sql.
-- $1 uuid      this relay   $2 smallint[] lanes        $3 bigint[] their tokens
-- $4 bigint[]  seqs         $5 integer[]  generations  $6 integer[] attempts from now on (not a difference: repeating it changes nothing)
-- $7 text[]    reasons      $8 text[]     errors       $9 boolean  park
with fence as (
    select l.lane
    from relay.lanes l
    join unnest($2::smallint[], $3::bigint[]) as mine (lane, token) on mine.lane = l.lane and mine.token = l.token
    where l.owner = $1
    for share of l
), dead as (
    update relay.outbox o
    set dead_at = now(),
        dead_reason = d.reason,
        last_error = d.error,
        -- If it is replayed one day.
        suspect = o.suspect or d.reason = 'refused',
        attempts = greatest(o.attempts, d.attempts),
        first_failed_at = coalesce(o.first_failed_at, now())
    from unnest($4::bigint[], $5::integer[], $6::integer[], $7::text[], $8::text[])
             as d (seq, generation, attempts, reason, error),
         fence
    where o.seq = any (array[d.seq]) and o.generation = d.generation and o.lane = fence.lane
      and o.published_at is null and o.dead_at is null
    returning o.seq, o.aggregate_type, o.aggregate_id, o.lane
), parked as (
    insert into relay.held_keys as k (aggregate_type, aggregate_id, lane, head_seq, reason)
    select distinct on (d.aggregate_type, d.aggregate_id) d.aggregate_type, d.aggregate_id, d.lane, d.seq, 'parked'
    from dead d
    where $9 and octet_length(d.aggregate_type) <= 255 and octet_length(d.aggregate_id) <= 255
    order by d.aggregate_type, d.aggregate_id, d.seq
    on conflict (aggregate_type, aggregate_id) do update
    set head_seq = excluded.head_seq, reason = 'parked', due_at = null, paused_by = null
), released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null, paused_by = null
    from dead d
    where not $9 and k.aggregate_type = d.aggregate_type and k.aggregate_id = d.aggregate_id and k.head_seq = d.seq
)
-- Those that are dead already died of this very statement, whose answer was lost.
select (select count(*) from dead)
     + (select count(*)
        from unnest($4::bigint[], $5::integer[], $7::text[]) as d (seq, generation, reason)
        join relay.outbox o on o.seq = any (array[d.seq]) and o.generation = d.generation and o.dead_reason = d.reason) as dead
