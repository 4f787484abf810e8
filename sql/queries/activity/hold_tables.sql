-- Who has had a transaction open for longest of those that hold locks on a schema's tables; no row if nobody does. Of other
-- roles' sessions Postgres keeps name and age to itself.
-- vacuum: whether anybody holds the lock of a vacuum, which only a change of the table waits for.
-- $1 text schema
select l.pid, coalesce(nullif(a.application_name, ''), p.gid) as name,
       extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::double precision as seconds,
       bool_or(l.mode = 'ShareUpdateExclusiveLock') over () as vacuum
from pg_catalog.pg_locks l
join pg_catalog.pg_class c on c.oid = l.relation and c.relnamespace = to_regnamespace(quote_ident($1::text))
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
left join pg_catalog.pg_prepared_xacts p on l.virtualtransaction = '-1/' || p.transaction::text
where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
order by coalesce(a.xact_start, p.prepared) nulls last, l.pid
limit 1
