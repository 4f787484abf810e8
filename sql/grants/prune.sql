-- What removing old rows needs, and nothing more: for a role of `relay prune`, or for the one of `relay run` in addition to
-- run.sql. It sees when rows were finished, never what is in them.
-- `relay migrate --grant-prune-to ROLE` runs this; so does psql -v schema=relay -v role=ROLE -f prune.sql.
-- Repeating it changes nothing.
grant usage on schema :"schema" to :"role";
grant select (seq, created_at, published_at, dead_at, resolved_at) on :"schema".outbox to :"role";
grant delete on :"schema".outbox to :"role";
-- Rows are locked first, which needs leave to change something. The lane is generated: it can't be changed.
grant update (lane) on :"schema".outbox to :"role";
grant select (head_seq) on :"schema".held_keys to :"role";
-- What it did.
grant select (audit_id), insert (actor, action, filter, affected, note), update (affected, note)
    on :"schema".audit to :"role";
