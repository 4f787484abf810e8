-- Takes those of these lanes that nobody holds any more, under a new fencing token; by the database's clock alone.
-- $1 uuid this relay   $2 bigint lease, microseconds   $3 smallint[] lanes
update relay.lanes l
set owner = $1, token = l.token + 1, expires_at = clock_timestamp() + $2::bigint * interval '1 microsecond'
where l.lane in (select f.lane from relay.lanes f
                 where f.lane = any ($3) and f.expires_at < clock_timestamp()
                 order by f.lane
                 -- Waiting, not skipping: whoever comes second sees what the first one took.
                 for update)
returning l.lane, l.token
