-- Relays that said within a day that they live, and not that they leave, the last heard from first: those that do, and those
-- that died.
select r.name, extract(epoch from clock_timestamp() - r.seen_at)::double precision as seen_ago
from relay.relays r
where r.expires_at is distinct from '-infinity'
order by r.seen_at desc
limit 100
