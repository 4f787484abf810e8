-- Gives lanes back, so that a successor takes them at once, and tells it. (An empty notification means rows, which
-- concern the owner alone.)
-- $1 uuid this relay   $2 smallint[] lanes   $3 bigint[] their tokens   $4 text channel to notify
with released as (
    update relay.lanes l
    set owner = null, expires_at = '-infinity'
    from unnest($2::smallint[], $3::bigint[]) as given (lane, token)
    where l.lane = given.lane and l.token = given.token and l.owner = $1
    returning l.lane
)
select pg_notify($4, 'lanes'), count(*) from released
