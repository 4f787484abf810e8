-- Forgets messages that were done before the horizon, a few at a time. What is dead or unfinished is never forgotten.
-- $1 text  consumer   $2 bigint  horizon, microseconds   $3 bigint  at most so many rows
delete from relay.inbox
where ctid = any (array(
    select i.ctid
    from relay.inbox i
    where i.consumer = $1 and i.state = 'done' and i.done_at < now() - $2::bigint * interval '1 microsecond'
    limit $3
    for update skip locked
))
