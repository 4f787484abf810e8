-- Which of these rights this role lacks. What does not exist is not asked after: that is another finding.
-- $1 text    the schema's name
-- $2 text[]  kinds: schema, table, sequence, function      $3 text[]  the object's name; of the schema itself empty
-- $4 text[]  a column's name, or empty                     $5 text[]  privileges
select n.kind, n.object, n.attribute, n.privilege
from unnest($2::text[], $3::text[], $4::text[], $5::text[]) as n (kind, object, attribute, privilege)
where case n.kind
    when 'schema' then
        (select has_schema_privilege(s.oid, n.privilege) from pg_catalog.pg_namespace s where s.nspname = $1)
    when 'function' then
        (select bool_and(has_function_privilege(p.oid, n.privilege))
         from pg_catalog.pg_proc p join pg_catalog.pg_namespace s on s.oid = p.pronamespace
         where s.nspname = $1 and p.proname = n.object)
    when 'sequence' then
        (select has_sequence_privilege(c.oid, n.privilege)
         from pg_catalog.pg_class c join pg_catalog.pg_namespace s on s.oid = c.relnamespace
         where s.nspname = $1 and c.relname = n.object and c.relkind = 'S')
    else
        (select case when n.attribute = '' then has_table_privilege(c.oid, n.privilege)
                     else (select has_column_privilege(c.oid, a.attnum, n.privilege)
                           from pg_catalog.pg_attribute a
                           where a.attrelid = c.oid and a.attname = n.attribute and not a.attisdropped) end
         from pg_catalog.pg_class c join pg_catalog.pg_namespace s on s.oid = c.relnamespace
         where s.nspname = $1 and c.relname = n.object and c.relkind in ('r', 'p'))
    end is false
