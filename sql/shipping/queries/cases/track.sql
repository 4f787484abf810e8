-- The carrier's word on a parcel, unless it is old news: a status never moves back. Returns a row if it was news.
-- $1 uuid  shipment   $2 smallint  case   $3 text  status   $4 smallint  its rank
update shipping.cases
set tracking_status = $3, tracking_rank = $4, tracked_at = now()
where shipment_id = $1 and case_no = $2 and (tracking_status is null or tracking_rank < $4)
returning true
