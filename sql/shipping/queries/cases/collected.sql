-- Whether the carrier has a parcel of the shipment, by its own word: from rank 2 on, but for a label it cancelled.
-- $1 uuid  shipment
select exists (select from shipping.cases c
               where c.shipment_id = $1 and c.tracking_rank >= 2 and c.tracking_status is distinct from 'cancelled')
