-- Adds one event, as a producer would. Returns its event id.
-- $1 text  aggregate type   $2 text  aggregate id   $3 text  event type   $4 text  payload, JSON   $5 text  headers, JSON
-- $6 bigint  available at, microseconds since 1970, or null   $7 bigint  or so many microseconds from now, or null
-- $8 text  exchange, or null   $9 text  routing key, or null   $10 uuid  event id, or null
select relay.enqueue($1, $2, $3, $4::text::jsonb, $5::text::jsonb,
                     coalesce('epoch'::timestamptz + $6::bigint * interval '1 microsecond',
                              now() + coalesce($7::bigint, 0) * interval '1 microsecond'),
                     $8, $9, $10)
