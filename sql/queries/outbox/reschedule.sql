-- Failed rows, to be tried again after a delay on the database's clock. With each, its key is held. Needs the
-- lane's current token: a relay that lost its lane reschedules nothing. FOR SHARE keeps a take-over waiting until this
-- statement is over.
-- any (array[..]): see mark_published.sql.
-- $1 uuid      this relay            $2 smallint[] lanes        $3 bigint[] their tokens
-- $4 bigint[]  seqs                  $5 integer[]  generations  $6 integer[] attempts from now on (not a difference: repeating it changes nothing)
-- $7 bigint[]  delay, microseconds   $8 text[]     what went wrong, at most 4 KiB
-- $9 boolean[] to be tried apart
-- $10 boolean  hold the keys (not under ordering = none)
-- Keys longer than 255 bytes are never held: their rows are poison all, and no index could hold them.
with fence as (
    select l.lane
    from relay.lanes l
    join unnest($2::smallint[], $3::bigint[]) as mine (lane, token) on mine.lane = l.lane and mine.token = l.token
    where l.owner = $1
    for share of l
), failed as (
    update relay.outbox o
    set state = 'waiting',
        attempts = greatest(o.attempts, f.attempts),
        available_at = now() + f.delay_us * interval '1 microsecond',
        first_failed_at = coalesce(o.first_failed_at, now()),
        last_error = f.error,
        suspect = f.suspect
    from unnest($4::bigint[], $5::integer[], $6::integer[], $7::bigint[], $8::text[], $9::boolean[])
             as f (seq, generation, attempts, delay_us, error, suspect),
         fence
    where o.seq = any (array[f.seq]) and o.generation = f.generation and o.lane = fence.lane
      and o.published_at is null and o.dead_at is null
    returning o.seq, o.aggregate_type, o.aggregate_id, o.lane, o.available_at
), holding as (
    insert into relay.held_keys as k (aggregate_type, aggregate_id, lane, head_seq, reason, due_at)
    select distinct on (f.aggregate_type, f.aggregate_id)
           f.aggregate_type, f.aggregate_id, f.lane, f.seq, 'retrying', f.available_at
    from failed f
    where $10 and octet_length(f.aggregate_type) <= 255 and octet_length(f.aggregate_id) <= 255
    order by f.aggregate_type, f.aggregate_id, f.seq
    on conflict (aggregate_type, aggregate_id) do update
    set head_seq = excluded.head_seq, reason = 'retrying', due_at = excluded.due_at, paused_by = null
    returning 1
)
select count(*) as rescheduled from failed
