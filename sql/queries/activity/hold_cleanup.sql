-- What keeps vacuum from removing the old versions of rows, the oldest first and alone; no row if nothing does.
-- A session does by the transaction id it writes under or by its snapshot, a transaction prepared for two-phase commit by its
-- id, a standby by the snapshot of its queries, directly or kept in its replication slot. A logical slot holds back only the
-- catalogs, so it does not count; nor does a session of another database, nor vacuum itself.
-- seconds: since a session began what holds: its statement, if it only reads and is at it, else its transaction. Null where
-- that can't be known: of slots, and of other roles' sessions without pg_read_all_stats; of these the state is null, too.
-- transactions: how many have begun since. held: where cleanup stands, which changes with every new snapshot.
-- Of several that hold the same, the one that writes under it is the cause of the others.
with holders as (
    select 'session' as by, a.pid, a.application_name as name, a.state,
           case when a.backend_xid is null and a.state = 'active' then a.query_start else a.xact_start end as since,
           case when a.backend_xmin is null or age(a.backend_xid) >= age(a.backend_xmin)
                then a.backend_xid else a.backend_xmin end as held,
           a.backend_xid as own
    from pg_stat_activity a
    where a.pid <> pg_backend_pid() and a.usesysid is not null
      and (a.datid is null or a.datid = (select d.oid from pg_database d where d.datname = current_database()))
      and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
    union all
    select 'prepared', null, p.gid, null, p.prepared, p.transaction, p.transaction
    from pg_prepared_xacts p
    where p.database = current_database()
    union all
    select 'slot', s.active_pid, s.slot_name, case when s.active then 'active' else 'inactive' end, null, s.xmin, null
    from pg_replication_slots s
)
select h.by, h.pid, nullif(h.name, '') as name, h.state,
       case when h.since is not null
            then greatest(0, extract(epoch from clock_timestamp() - h.since)) end::double precision as seconds,
       age(h.held)::bigint as transactions, h.held::text as held
from holders h
where h.held is not null
order by age(h.held) desc, (h.own is not null and h.own = h.held) desc, h.since, h.pid
limit 1
