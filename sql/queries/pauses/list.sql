-- What is paused, the oldest first. There are no more than 1,000; see create.sql.
select p.pause_id, p.scope, p.exchange, p.routing_key, p.aggregate_type, p.aggregate_id, p.since, p.actor, p.note
from relay.pauses p
order by p.pause_id
limit 1000
