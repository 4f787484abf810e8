-- What there is to share: every lane, who holds it (null: nobody, or a lease that ran out), which relays live, and how long
-- until the first lease of another relay runs out.
-- $1 uuid this relay
select array_agg(l.lane order by l.lane) as lanes,
       array_agg(case when l.expires_at >= clock_timestamp() then l.owner end order by l.lane) as owners,
       array(select r.relay_id from relay.relays r where r.expires_at >= clock_timestamp()) as live,
       (extract(epoch from min(l.expires_at) filter (where l.owner <> $1 and l.expires_at >= clock_timestamp())
                           - clock_timestamp()) * 1000000)::bigint as first_expiry_us
from relay.lanes l
