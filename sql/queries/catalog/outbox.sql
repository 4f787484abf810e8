-- Which table the outbox is that this session sees; one row, or none without one. It names the same table to two sessions if they are
-- of one database, or of copies of one, and who asks.
-- $1 text  the schema's name
select d.oid::bigint as database, c.oid::bigint as outbox, current_user::text as role
from pg_catalog.pg_class c
    join pg_catalog.pg_namespace s on s.oid = c.relnamespace
    join pg_catalog.pg_database d on d.datname = current_database()
where s.nspname = $1 and c.relname = 'outbox'
