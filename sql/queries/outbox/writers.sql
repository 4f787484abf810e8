-- Where the sequence stands, and which transactions may yet commit rows below that.
-- A writer holds its row-exclusive lock on the table before nextval gives it a seq, and gives the lock up only after
-- its rows have become visible. So once everyone seen here has ended, nothing at or below last_value can appear.
-- (A sequence that was never used says 1, too: without is_called the first row of a table would count as settled.)
-- (relay's own marking shows up as a writer too; it ends within milliseconds.)
select case when s.is_called then s.last_value else s.last_value - 1 end as last_value,
       array(select distinct l.virtualtransaction
             from pg_locks l
             where l.locktype = 'relation' and l.relation = 'relay.outbox'::regclass
               and l.database = (select d.oid from pg_database d where d.datname = current_database())
               and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
       ) as writers
from relay.outbox_seq_seq s
