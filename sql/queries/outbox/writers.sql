-- Where the sequence stands, and which transactions may yet commit rows below that.
-- A writer holds its row-exclusive lock on the table before nextval gives it a seq, and gives the lock up only after
-- its rows have become visible. So once everyone seen here has ended, nothing at or below last_value can appear.
-- (relay's own marking shows up as a writer too; it ends within milliseconds.)
select s.last_value,
       array(select distinct l.virtualtransaction
             from pg_locks l
             where l.locktype = 'relation' and l.relation = 'relay.outbox'::regclass
               and l.database = (select d.oid from pg_database d where d.datname = current_database())
               and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
       ) as writers
from relay.outbox_seq_seq s
