-- What whoever does what operators do needs, and nothing more: for operators' commands and page (database.operator_url). It
-- sees every row and who did what; it can neither add a row nor remove one, and publishes nothing.
-- `relay migrate --grant-operate-to ROLE` runs this; so does psql -v schema=relay -v role=ROLE -f operate.sql.
-- Repeating it changes nothing.
grant usage on schema :"schema" to :"role";
grant select on :"schema".migrations to :"role";
grant select on :"schema".lanes to :"role";
grant select on :"schema".relays to :"role";
grant select on :"schema".consumers to :"role";
-- For the rate at which rows are added.
grant select on sequence :"schema".outbox_seq_seq to :"role";
-- Replaying, discarding, skipping; and mending a dead row's payload, of which the producer's own is kept.
grant select, update (dead_at, dead_reason, state, available_at, attempts, generation, replays, resolved_at, payload,
              original_payload)
    on :"schema".outbox to :"role";
grant select, update (reason, due_at, paused_by) on :"schema".held_keys to :"role";
grant select, update (state, due_at, dead_at, reason, attempts, replays, resolved_at) on :"schema".inbox to :"role";
-- Pausing and resuming.
grant select, insert, delete on :"schema".pauses to :"role";
-- What they did. An entry, once written, keeps who it was and what.
grant select, insert (actor, action, filter, affected, note), update (affected, note) on :"schema".audit to :"role";
