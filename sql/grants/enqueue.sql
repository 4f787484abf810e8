-- What a producer's role needs: to add rows, by relay.enqueue or a plain INSERT, and to learn the id of its own.
-- `relay migrate --grant-enqueue-to ROLE` runs this; so does psql -v schema=relay -v role=ROLE -f enqueue.sql.
-- Repeating it changes nothing.
grant usage on schema :"schema" to :"role";
-- The protocol's columns have defaults, and nobody but relay gives them other values.
grant insert (event_id, aggregate_type, aggregate_id, event_type, payload, headers, exchange, routing_key,
              available_at) on :"schema".outbox to :"role";
-- For INSERT .. RETURNING event_id.
grant select (event_id) on :"schema".outbox to :"role";
grant execute on function :"schema".uuid_v7 to :"role";
grant execute on function :"schema".enqueue to :"role";
-- The wake-up trigger runs as the producer.
grant execute on function :"schema".wake to :"role";
