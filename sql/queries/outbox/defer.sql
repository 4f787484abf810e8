-- Rows that are not to be published yet (available_at lies ahead): out of the ready rows, found again when due.
-- $1 uuid      this relay   $2 smallint[] lanes   $3 bigint[] their tokens   $4 bigint[] seqs
with fence as (
    select l.lane
    from relay.lanes l
    join unnest($2::smallint[], $3::bigint[]) as mine (lane, token) on mine.lane = l.lane and mine.token = l.token
    where l.owner = $1
    for share of l
)
update relay.outbox o
set state = 'waiting'
from fence
where o.seq = any ($4) and o.lane = fence.lane and o.published_at is null and o.dead_at is null
