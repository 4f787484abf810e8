-- What a consumer's role needs of relay's schema, and nothing more; its own tables are its own affair, and what it may
-- add to the outbox is enqueue.sql's. It sees every consumer's inbox in this schema, not only its own.
-- `relay migrate --grant-consume-to ROLE` runs this; so does psql -v schema=relay -v role=ROLE -f consume.sql.
-- Repeating it changes nothing.
grant usage on schema :"schema" to :"role";
grant select, insert on :"schema".inbox to :"role";
-- The message itself stays as it came, until it is done. Who may replay and discard, operators say.
grant update (state, attempts, due_at, claim_token, done_at, properties, body, last_error, first_failed_at, reason,
              dead_at) on :"schema".inbox to :"role";
-- For pruning.
grant delete on :"schema".inbox to :"role";
grant select, insert, update on :"schema".consumers to :"role";
