-- Everything a schema has of what migrations make: tables and their columns, indexes, triggers, functions.
-- $1 text  the schema's name
-- kind, the table it belongs to (null of a function), its name, and whether it works: an index whose building failed is
-- not used, a trigger that was disabled, or left to replication, does not fire.
-- Read from the catalogs, which everybody may, so that it answers to a role without any rights as well.
with tables as (
    select c.oid, c.relname
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind in ('r', 'p')
)
select 'table' as kind, t.relname::text as of, t.relname::text as name, true as works from tables t
union all
select 'column', t.relname, a.attname, true
from tables t join pg_catalog.pg_attribute a on a.attrelid = t.oid
where a.attnum > 0 and not a.attisdropped
union all
select 'index', t.relname, c.relname, i.indisvalid and i.indisready
from tables t join pg_catalog.pg_index i on i.indrelid = t.oid join pg_catalog.pg_class c on c.oid = i.indexrelid
union all
select 'trigger', t.relname, g.tgname, g.tgenabled in ('O', 'A')
from tables t join pg_catalog.pg_trigger g on g.tgrelid = t.oid
where not g.tgisinternal
union all
select distinct 'function', null, p.proname, true
from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname = $1
order by 1, 2, 3
