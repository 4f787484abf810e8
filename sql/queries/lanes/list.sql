-- Every lane, and who holds it for how long yet. An expired lease is nobody's, whatever its owner still says.
select l.lane, case when l.expires_at >= clock_timestamp() then l.owner end as owner,
       case when l.expires_at >= clock_timestamp()
            then extract(epoch from l.expires_at - clock_timestamp())::double precision end as lease_left
from relay.lanes l
order by l.lane
