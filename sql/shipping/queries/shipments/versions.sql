-- Where shipments stand, for all who wait for a change of one.
-- $1 uuid[]  shipments
select s.shipment_id, s.version from shipping.shipments s where s.shipment_id = any($1)
