-- A new version of a shipment, for a change that is not the ledger's. Takes its lock, as everybody does first.
-- $1 uuid  shipment
update shipping.shipments set version = version + 1, updated_at = now() where shipment_id = $1
