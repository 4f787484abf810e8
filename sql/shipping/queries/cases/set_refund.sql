-- The carrier's word on a refund. That the money is back, or that there is none, stays; what was rejected may be asked again.
-- Returns a row if it is news.
-- $1 uuid  shipment   $2 smallint  case   $3 text  refund
update shipping.cases
set refund = $3, refund_at = now()
where shipment_id = $1 and case_no = $2 and bought_at is not null and (refund is null or refund in ('submitted', 'rejected'))
returning 1
