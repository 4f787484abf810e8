-- Where a shipment goes, as the carrier knows it.
-- $1 uuid  shipment   $2 text  the address, as JSON
update shipping.shipments set verified_to = $2::jsonb where shipment_id = $1
