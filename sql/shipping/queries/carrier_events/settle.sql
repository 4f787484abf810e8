-- What became of a webhook of the carrier's, once.
-- $1 text  event   $2 text  what became of it
update shipping.carrier_events set applied_at = now(), result = $2 where event_id = $1 and applied_at is null
