-- Since when nobody knows whether a case's label was bought. Only after the carrier has settled may "it was not" be believed.
-- $1 uuid  shipment   $2 smallint  case   $3 boolean  whether that is so; the first time counts. Otherwise it is forgotten
-- Returns how long it is so, in microseconds; nothing, if there was nothing to forget.
update shipping.cases
set lost_at = case when $3 then coalesce(lost_at, now()) end
where shipment_id = $1 and case_no = $2 and ($3 or lost_at is not null)
returning (extract(epoch from now() - lost_at) * 1000000)::bigint
