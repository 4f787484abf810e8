-- How many of these dead rows are older than some consumer remembers: replayed, such a consumer may do them again.
-- $1 bigint[]  seqs
select count(*) as beyond
from relay.outbox o
where o.seq = any ($1) and o.created_at < now() - (select min(c.horizon) from relay.consumers c)
