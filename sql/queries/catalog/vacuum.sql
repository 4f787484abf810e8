-- Whether vacuum comes by itself: on this server, and to the outbox; no row if there is no such table.
-- $1 text  the schema's name
select current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean as server,
       coalesce((select o.option_value::boolean from pg_options_to_table(c.reloptions) o
                 where o.option_name = 'autovacuum_enabled'), true) as outbox
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = 'outbox'
