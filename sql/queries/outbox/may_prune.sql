-- Whether it is this relay that removes old rows, and whether its role may; and the database's clock.
-- $1 uuid  this relay
-- One relay at a time does it: whoever owns the first lane. It has a lease on that, by the database's clock, and hands it
-- on when it stops; an advisory lock of a session would be left behind in a pooler. Two at once, for a moment, do no harm.
select exists (select from relay.lanes l where l.lane = 0 and l.owner = $1 and l.expires_at > clock_timestamp()) as turn,
       has_table_privilege('relay.outbox', 'delete') as allowed,
       clock_timestamp() as now
