-- This relay lives no longer: gives every lane back and tells the others.
-- $1 uuid this relay   $2 text channel to notify
with gone as (
    update relay.relays set expires_at = '-infinity' where relay_id = $1
), released as (
    update relay.lanes set owner = null, expires_at = '-infinity' where owner = $1 returning lane
)
select pg_notify($2, 'lanes'), count(*) from released
