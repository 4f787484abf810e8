-- Gives all lanes back, so that a successor takes them at once, and tells it. (An empty notification means rows, which
-- concern the owner alone.)
-- $1 uuid this relay   $2 text channel to notify
with released as (
    update relay.lanes set owner = null, expires_at = '-infinity' where owner = $1 returning lane
)
select pg_notify($2, 'released'), count(*) from released
