-- Rows whose turn has come and that a pause is about: they are held, and their key with them. Nobody is charged. Needs the
-- lane's current token, as reschedule does.
-- $1 uuid      this relay   $2 smallint[] lanes        $3 bigint[]  their tokens
-- $4 bigint[]  seqs         $5 integer[]  generations  $6 bigint[]  the pause of each   $7 boolean[] to be tried apart
-- any (array[..]): see mark_published.sql.
-- A pause that is over by now holds nobody: then the key is let go at once, or it would wait for ever. One that stands is
-- locked, so that it does until these keys are seen to wait for it.
-- A key that waits for an earlier row of its own, or for a dead one, goes on waiting for that one.
with fence as (
    select l.lane
    from relay.lanes l
    join unnest($2::smallint[], $3::bigint[]) as mine (lane, token) on mine.lane = l.lane and mine.token = l.token
    where l.owner = $1
    for share of l
), standing as (
    select p.pause_id
    from relay.pauses p
    where p.pause_id = any ($6::bigint[])
    order by p.pause_id
    for key share of p
), paused as (
    update relay.outbox o
    set state = 'held', suspect = r.suspect
    from unnest($4::bigint[], $5::integer[], $6::bigint[], $7::boolean[]) as r (seq, generation, pause_id, suspect),
         fence
    where o.seq = any (array[r.seq]) and o.generation = r.generation and o.lane = fence.lane
      and o.published_at is null and o.dead_at is null
      and octet_length(o.aggregate_type) <= 255 and octet_length(o.aggregate_id) <= 255
    returning o.seq, o.aggregate_type, o.aggregate_id, o.lane, r.pause_id
), keys as (
    insert into relay.held_keys as k (aggregate_type, aggregate_id, lane, head_seq, reason, paused_by)
    select distinct on (p.aggregate_type, p.aggregate_id)
           p.aggregate_type, p.aggregate_id, p.lane, p.seq,
           case when s.pause_id is null then 'releasing' else 'parked' end, s.pause_id
    from paused p
    left join standing s on s.pause_id = p.pause_id
    order by p.aggregate_type, p.aggregate_id, p.seq
    on conflict (aggregate_type, aggregate_id) do update
    set head_seq = excluded.head_seq, reason = excluded.reason, paused_by = excluded.paused_by, due_at = null
    where k.reason = 'releasing'
       or ((k.reason = 'retrying' or k.paused_by is not null) and k.head_seq >= excluded.head_seq)
)
select count(*) as held,
       array(select distinct r.pause_id from unnest($6::bigint[]) as r (pause_id)
             where r.pause_id not in (select s.pause_id from standing s)) as over
from paused
