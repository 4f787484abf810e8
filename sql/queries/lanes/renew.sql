-- Prolongs the leases this relay still holds, leaves with them how far their lanes are done, and says which they are; a lease
-- that ran out is not revived.
-- Lanes are locked in their order, as everybody does: this relay's own writes lock them meanwhile, to keep their token, and
-- else the two might wait for each other.
-- $1 uuid this relay     $2 bigint lease, microseconds
-- $3 smallint[] lanes    $4 bigint[] the token of each   $5 bigint[] its floor   $6 bigint how their seqs are numbered
-- A floor found under another token says nothing: see src/relay/floors.rs.
update relay.lanes l
set expires_at = clock_timestamp() + $2::bigint * interval '1 microsecond',
    floor = coalesce(held.floor, l.floor),
    numbering = case when held.floor is null then l.numbering else $6::bigint end
from (select h.lane, f.floor
      from relay.lanes h
      left join unnest($3::smallint[], $4::bigint[], $5::bigint[]) as f (lane, token, floor)
        on f.lane = h.lane and f.token = h.token
      where h.owner = $1 and h.expires_at >= clock_timestamp()
      order by h.lane
      for no key update of h) held
where l.lane = held.lane and l.owner = $1
returning l.lane, l.token
