-- Puts the tracking code of the first case onto the shipment.
-- $1 uuid  shipment
update shipping.shipments s
set tracking_code = (select c.tracking_code from shipping.cases c
                     where c.shipment_id = s.shipment_id and c.tracking_code is not null
                     order by c.case_no limit 1)
where s.shipment_id = $1
