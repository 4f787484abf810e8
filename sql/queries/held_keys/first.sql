-- The keys that wait longest, with their head: what it waits for, and why.
-- $1 bigint  at most so many
select k.aggregate_type, k.aggregate_id, k.head_seq,
       case when k.reason = 'parked' and k.paused_by is not null then 'paused' else k.reason end as reason,
       extract(epoch from k.due_at - clock_timestamp())::double precision as due_in,
       extract(epoch from clock_timestamp() - k.since)::double precision as held_for,
       o.last_error, case when k.reason = 'parked' then k.paused_by end as paused_by
from relay.held_keys k
left join relay.outbox o on o.seq = k.head_seq
order by k.since, k.aggregate_type, k.aggregate_id
limit $1
