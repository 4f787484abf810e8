-- Sends work orders: one message an entry, typed as its step, in the order given.
-- $1 text  shipment   $2 text[]  types   $3 text[]  payloads, as JSON   $4 text  headers, as JSON
select relay.enqueue('shipment', $1, n.kind, n.payload::jsonb, headers => $4::jsonb)
from unnest($2::text[], $3::text[]) with ordinality as n (kind, payload, position)
order by n.position
