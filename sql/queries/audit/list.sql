-- What operators did, the latest first. A parameter that is null selects everything.
-- $1 bigint  at or after, microseconds since 1970   $2 text  actor   $3 text  action   $4 bigint  at most so many
-- $5 bigint  before this entry
select a.audit_id, a.at, a.actor, a.action, a.filter::text as filter, a.affected, a.note
from relay.audit a
where ($1::bigint is null or a.at >= 'epoch'::timestamptz + $1 * interval '1 microsecond')
  and ($2::text is null or a.actor = $2)
  and ($3::text is null or a.action = $3)
  and ($5::bigint is null or a.audit_id < $5)
order by a.audit_id desc
limit $4
