-- How many lanes nobody holds: their rows wait.
select count(*) as unowned from relay.lanes l where l.owner is null or l.expires_at < clock_timestamp()
