-- Lets keys go whose pause is over, of one pause at a time. Run after a pause has been ended, and by relays now and then,
-- for whoever ended it may have been cut off, or have used SQL.
-- $1 bigint  at most so many keys   $2 text  channel to notify
-- The pauses that keys wait for are found by stepping through the index, for a million keys may wait for the same one.
-- What a key that is not parked has of a pause is a leftover of a relay older than pauses: it is cleared away.
-- Locks keys in the order in which everybody does.
with recursive waited_for as (
    select min(k.paused_by) as pause_id from relay.held_keys k where k.paused_by is not null
    union all
    select (select min(k.paused_by) from relay.held_keys k where k.paused_by > w.pause_id)
    from waited_for w
    where w.pause_id is not null
), chosen as (
    select k.aggregate_type, k.aggregate_id
    from relay.held_keys k
    where k.paused_by = (select min(w.pause_id) from waited_for w
                         where not exists (select from relay.pauses p where p.pause_id = w.pause_id))
    order by k.aggregate_type, k.aggregate_id
    limit $1
    for update of k
), released as (
    update relay.held_keys k
    set reason = case when k.reason = 'parked' then 'releasing' else k.reason end, paused_by = null
    from chosen c
    where k.aggregate_type = c.aggregate_type and k.aggregate_id = c.aggregate_id
    returning 1
)
select count(*) as released, case when count(*) > 0 then pg_notify($2, '')::text end as notified
from released
