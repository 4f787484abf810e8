-- Ends every change to a shipment or to its ledger: its state, and a new version.
-- $1 uuid  shipment   $2 bigint  version seen   $3 text  state   $4 text  the reason, for people, or null to keep the last one
update shipping.shipments
set state = $3, version = version + 1, updated_at = now(), reason = coalesce($4, reason)
where shipment_id = $1 and version = $2
returning true
