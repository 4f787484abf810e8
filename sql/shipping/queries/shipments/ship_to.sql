-- Where a shipment is to go, as it was asked for.
-- $1 uuid  shipment
select s.ship_to::text from shipping.shipments s where s.shipment_id = $1
