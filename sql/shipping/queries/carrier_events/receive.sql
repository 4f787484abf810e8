-- Keeps a webhook of the carrier's and has it applied, once for its id. Returns a row if it is new.
-- $1 text  the event's id   $2 bytea  its body, as it was signed   $3 text  headers, as JSON
with stored as (
    insert into shipping.carrier_events (event_id, body) values ($1, $2)
    on conflict do nothing
    returning event_id
)
select relay.enqueue('carrier', s.event_id, 'event_received', jsonb_build_object('event_id', s.event_id), headers => $3::jsonb)
from stored s
