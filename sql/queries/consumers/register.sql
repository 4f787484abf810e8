-- Says that this consumer lives, and how long it remembers what it has done.
-- $1 text  consumer   $2 bigint  horizon, microseconds
insert into relay.consumers (consumer, horizon) values ($1, $2::bigint * interval '1 microsecond')
on conflict (consumer) do update set horizon = excluded.horizon, seen_at = now()
