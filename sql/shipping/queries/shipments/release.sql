-- Gives back what an undone shipment reserved. Returns whether it did: not, if anything stands that was bought or billed.
-- $1 uuid  shipment
select shipping.release($1)
