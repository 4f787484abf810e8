-- Gives lanes back, so that a successor takes them at once and begins where this relay ended, and tells it. (An empty
-- notification means rows, which concern the owner alone.)
-- $1 uuid this relay   $2 smallint[] lanes   $3 bigint[] their tokens   $4 text channel to notify
-- $5 smallint[] lanes  $6 bigint[] the token of each   $7 bigint[] its floor   $8 bigint how their seqs are numbered
-- Floors as in renew; of those there may be more, or fewer.
with released as (
    update relay.lanes l
    set owner = null, expires_at = '-infinity',
        floor = coalesce(given.floor, l.floor),
        numbering = case when given.floor is null then l.numbering else $8::bigint end
    from (select g.lane, g.token, f.floor
          from unnest($2::smallint[], $3::bigint[]) as g (lane, token)
          left join unnest($5::smallint[], $6::bigint[], $7::bigint[]) as f (lane, token, floor)
            on f.lane = g.lane and f.token = g.token) given
    where l.lane = given.lane and l.token = given.token and l.owner = $1
    returning l.lane
)
select pg_notify($4, 'lanes'), count(*) from released
