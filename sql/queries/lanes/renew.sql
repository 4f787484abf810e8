-- Prolongs the leases this relay still holds, and says which; a lease that ran out is not revived.
-- $1 uuid this relay   $2 bigint lease, microseconds
update relay.lanes l
set expires_at = clock_timestamp() + $2::bigint * interval '1 microsecond'
where l.owner = $1 and l.expires_at >= clock_timestamp()
returning l.lane, l.token
