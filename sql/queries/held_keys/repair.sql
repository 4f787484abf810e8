-- Lets keys go whose head was settled by somebody who did not know that it was a head: a relay that lost its lanes
-- while its confirm was on the way. Rare, so it runs once a minute, and only looks at keys long overdue.
update relay.held_keys k
set reason = 'releasing', due_at = null, paused_by = null
where k.reason = 'retrying' and k.due_at < now() - interval '30 seconds'
  and not exists (select from relay.outbox o
                  where o.seq = k.head_seq and o.published_at is null and o.dead_at is null)
