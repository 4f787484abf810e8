-- Prolongs the leases this relay still holds, and says which; a lease that ran out is not revived.
-- Lanes are locked in their order, as everybody does: this relay's own writes lock them meanwhile, to keep their token, and
-- else the two might wait for each other.
-- $1 uuid this relay   $2 bigint lease, microseconds
update relay.lanes l
set expires_at = clock_timestamp() + $2::bigint * interval '1 microsecond'
from (select h.lane from relay.lanes h
      where h.owner = $1 and h.expires_at >= clock_timestamp()
      order by h.lane
      for no key update) held
where l.lane = held.lane and l.owner = $1
returning l.lane, l.token
