-- Where the sequence stands, and which transactions may yet commit rows below that; no row if it stands at $1.
-- $1 bigint  where it stood before, or null
-- Also which file the sequence is in: it is another one after a restart, which nothing else may show.
-- The sequence is read first, and must be: hence the last line within, which refers to it and keeps the locks from being
-- read before there is a value.
-- A writer holds its row-exclusive lock on the table before nextval gives it a seq, and gives the lock up only after
-- its rows have become visible. So once everyone seen here has ended, nothing at or below last_value can appear.
-- (A sequence that was never used says 1, too: without is_called the first row of a table would count as settled.)
-- (relay's own marking shows up as a writer too; it ends within milliseconds.)
select s.last_value,
       array(select distinct l.virtualtransaction
             from pg_locks l
             where l.locktype = 'relation' and l.relation = 'relay.outbox'::regclass
               and l.database = (select d.oid from pg_database d where d.datname = current_database())
               and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
               and s.last_value is not null
       ) as writers,
       pg_relation_filenode('relay.outbox_seq_seq'::regclass)::bigint as numbering
from (
    select case when is_called then last_value else last_value - 1 end as last_value
    from relay.outbox_seq_seq
    offset 0
) s
where $1::bigint is distinct from s.last_value
