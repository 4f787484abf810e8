-- An event that follows from a message, in the transaction of its effect.
-- $1 text  aggregate type   $2 text  aggregate id   $3 text  event type   $4 text  payload   $5 text  headers
select relay.enqueue($1, $2, $3, $4::text::jsonb, $5::text::jsonb)
