-- Forgets keys whose held rows are all done. See the function, in the migrations, for why it is one. A key of which a held
-- row waits in memory is not done, and in lanes where no other key is being released nothing is looked for: it would mean to
-- step over everything of theirs that went out since somebody's old snapshot.
-- The rows in memory are found before anything is asked of their state: the index of held rows would be gone through.
-- No more keys are looked at than the function looks at. Of these no more than 512 have rows in memory, so it comes to others.
-- $1 integer  lanes owned, as a bit mask   $2 bigint[]  held rows in memory
with queued as materialized (
    select q.aggregate_type, q.aggregate_id, q.state, q.published_at, q.dead_at
    from relay.outbox q
    where q.seq = any ($2)
)
select relay.close_released(bit_or(1 << k.lane))
from (
    select k.aggregate_type, k.aggregate_id, k.lane
    from relay.held_keys k
    where k.reason = 'releasing' and (1 << k.lane) & $1 <> 0
    order by k.since
    limit 1000
) k
where (k.aggregate_type, k.aggregate_id) not in (
    select q.aggregate_type, q.aggregate_id
    from queued q
    where q.state = 'held' and q.published_at is null and q.dead_at is null)
having count(*) > 0
