-- Whether any key of these lanes is held, and whether any is being released.
-- $1 integer  lanes owned, as a bit mask
select exists (select from relay.held_keys k where (1 << k.lane) & $1 <> 0) as held,
       exists (select from relay.held_keys k where k.reason = 'releasing' and (1 << k.lane) & $1 <> 0) as releasing
