-- An attempt to call a webhook is about to begin: counted before it does.
-- $1 uuid  notification   $2 uuid  endpoint: the party's of today
insert into shipping.deliveries as d (notification_id, endpoint_id, attempts)
values ($1, $2, 1)
on conflict (notification_id) do update
set endpoint_id = excluded.endpoint_id, attempts = d.attempts + 1, state = 'pending', next_attempt_at = now(),
    finished_at = null
