-- Relays that said so within a day, the last heard from first.
select r.relay_id, r.name, r.version, r.started_at,
       extract(epoch from clock_timestamp() - r.seen_at)::double precision as seen_ago
from relay.relays r
order by r.seen_at desc
limit 100
