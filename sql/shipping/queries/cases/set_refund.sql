-- The carrier's word on a refund. One that is final stays.
-- $1 uuid  shipment   $2 smallint  case   $3 text  refund
update shipping.cases
set refund = $3, refund_at = now()
where shipment_id = $1 and case_no = $2 and bought_at is not null and (refund is null or refund = 'submitted')
