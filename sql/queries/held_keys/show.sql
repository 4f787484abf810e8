-- One held key: its head, why it waits, and what waits behind it, counted to 10,000. The first columns are those of first.sql.
-- $1 text  aggregate type   $2 text  aggregate id
select k.aggregate_type, k.aggregate_id, k.head_seq,
       case when k.reason = 'parked' and k.paused_by is not null then 'paused' else k.reason end as reason,
       extract(epoch from k.due_at - clock_timestamp())::double precision as due_in,
       extract(epoch from clock_timestamp() - k.since)::double precision as held_for,
       o.last_error, case when k.reason = 'parked' then k.paused_by end as paused_by,
       o.event_id, o.event_type, o.attempts,
       (select count(*) from (
           select from relay.outbox h
           where h.aggregate_type = k.aggregate_type and h.aggregate_id = k.aggregate_id
             and h.state = 'held' and h.published_at is null and h.dead_at is null and h.seq <> k.head_seq
           limit 10000) b) as behind
from relay.held_keys k
left join relay.outbox o on o.seq = k.head_seq
where k.aggregate_type = $1 and k.aggregate_id = $2
