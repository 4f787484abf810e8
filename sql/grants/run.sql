-- What the role of `relay run` needs, and nothing more: it can't change what was to be published, nor learn
-- who did what. `relay migrate --grant-run-to ROLE` runs this; so does psql -v schema=relay -v role=ROLE -f run.sql.
-- Repeating it changes nothing.
grant usage on schema :"schema" to :"role";
grant select on :"schema".migrations to :"role";
grant select on :"schema".outbox to :"role";
-- The protocol's columns. Payload, headers, keys and ids stay as the producer wrote them.
grant update (published_at, dead_at, dead_reason, state, attempts, available_at, first_failed_at, last_error,
              suspect)
    on :"schema".outbox to :"role";
grant select on sequence :"schema".outbox_seq_seq to :"role";
grant select, insert, update, delete on :"schema".held_keys to :"role";
-- To lock a pause against being ended meanwhile; a generated id can't be changed to anything chosen.
grant select, update (pause_id) on :"schema".pauses to :"role";
grant select, update (owner, token, expires_at, floor, numbering) on :"schema".lanes to :"role";
grant select, insert, update, delete on :"schema".relays to :"role";
-- For the metric of replayed and discarded rows.
grant select (action, affected) on :"schema".audit to :"role";
grant execute on function :"schema".wake_class to :"role";
grant execute on function :"schema".close_released to :"role";
