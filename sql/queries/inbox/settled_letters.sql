-- Of a consumer's dead letters, those whose message has moved on since: replayed, done or discarded. A letter that came
-- before its message was marked dead is not settled.
-- $1 text[]  consumers   $2 text[]  message ids   $3 integer[]  their x-relay-replays
-- Returns the place of each settled letter in the arrays, from 1.
select letter.place
from unnest($1::text[], $2::text[], $3::integer[]) with ordinality as letter (consumer, message_id, replays, place)
join relay.inbox i on i.consumer = letter.consumer and i.message_id = letter.message_id
where i.replays > letter.replays or i.state = 'done' or i.resolved_at is not null
