-- Decides that a shipment is undone, once.
-- $1 uuid  shipment   $2 text  why   $3 text  its state from now on   $4 text  the reason, for people, or null
update shipping.shipments
set undo = $2, state = $3, reason = coalesce($4, reason)
where shipment_id = $1 and undo is null
returning true
