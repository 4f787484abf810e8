-- The label that was bought for a case, once. Returns a row if it is kept.
-- $1 uuid  shipment   $2 smallint  case   $3 text  carrier   $4 text  service, or null   $5 text  tracking code
-- $6 text  where the label is, or null   $7 bigint  cost, minor units   $8 text  its currency
update shipping.cases
set carrier = $3, service = $4, tracking_code = $5, label_url = $6, cost_minor = $7, cost_currency = $8, bought_at = now()
where shipment_id = $1 and case_no = $2 and (bought_at is null or tracking_code = $5)
returning 1
