-- Of dead letters, those whose row has moved on since: replayed, published or discarded. A letter whose row is not here
-- may be another outbox's, and one whose row is not dead yet came before its mark: neither is settled.
-- $1 uuid[]  message ids   $2 bigint[]  their x-relay-seq   $3 integer[]  their x-relay-replays
-- Returns the place of each settled letter in the arrays, from 1.
select letter.place
from unnest($1::uuid[], $2::bigint[], $3::integer[]) with ordinality as letter (event_id, seq, replays, place)
join relay.outbox o on o.seq = letter.seq and o.event_id = letter.event_id
where o.replays > letter.replays or o.published_at is not null or o.resolved_at is not null
