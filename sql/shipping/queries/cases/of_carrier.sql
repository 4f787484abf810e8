-- The case that the carrier knows by this id, if it is one of ours.
-- $1 text  the carrier's id
select c.shipment_id, c.case_no from shipping.cases c where c.carrier_shipment_id = $1
