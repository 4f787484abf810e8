-- Rows that wait behind the head of their key. Their key gets an entry if it has none: then nothing is in front of
-- them any more, and they come back with the next release.
-- $1 uuid      this relay   $2 smallint[] lanes   $3 bigint[] their tokens   $4 bigint[] seqs
with fence as (
    select l.lane
    from relay.lanes l
    join unnest($2::smallint[], $3::bigint[]) as mine (lane, token) on mine.lane = l.lane and mine.token = l.token
    where l.owner = $1
    for share of l
), held as (
    update relay.outbox o
    set state = 'held'
    from fence
    where o.seq = any ($4) and o.lane = fence.lane and o.published_at is null and o.dead_at is null
      and octet_length(o.aggregate_type) <= 255 and octet_length(o.aggregate_id) <= 255
    returning o.seq, o.aggregate_type, o.aggregate_id, o.lane
), keys as (
    insert into relay.held_keys as k (aggregate_type, aggregate_id, lane, head_seq, reason)
    select h.aggregate_type, h.aggregate_id, h.lane, min(h.seq), 'releasing'
    from held h
    group by h.aggregate_type, h.aggregate_id, h.lane
    -- Entries are locked in one order everywhere, or two statements might wait for each other.
    order by h.aggregate_type, h.aggregate_id
    -- Changes nothing, but locks the entry: so that it can't be closed before these rows are seen to be held.
    on conflict (aggregate_type, aggregate_id) do update set lane = k.lane
)
select count(*) as held from held
