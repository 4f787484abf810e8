-- Forgets keys whose held rows are all done, and says whether any key is left.
-- $1 integer  lanes owned, as a bit mask
with closed as (
    delete from relay.held_keys k
    where k.reason = 'releasing' and (1 << k.lane) & $1 <> 0
      and not exists (
          select from relay.outbox o
          where o.aggregate_type = k.aggregate_type and o.aggregate_id = k.aggregate_id
            and o.state = 'held' and o.published_at is null and o.dead_at is null)
    returning k.aggregate_type, k.aggregate_id
)
select exists (
    select from relay.held_keys k
    where (1 << k.lane) & $1 <> 0
      and not exists (select from closed c
                      where c.aggregate_type = k.aggregate_type and c.aggregate_id = k.aggregate_id)
) as any_left,
exists (
    select from relay.held_keys k
    where k.reason = 'releasing' and (1 << k.lane) & $1 <> 0
      and not exists (select from closed c
                      where c.aggregate_type = k.aggregate_type and c.aggregate_id = k.aggregate_id)
) as any_releasing
