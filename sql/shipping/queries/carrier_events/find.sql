-- A webhook of the carrier's that is stored and not applied, locked until the transaction ends.
-- $1 text  event
select e.body from shipping.carrier_events e where e.event_id = $1 and e.applied_at is null for no key update
