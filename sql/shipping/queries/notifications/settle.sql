-- What a notification has come to, for whoever asks. Pending again, it is not finished any more.
-- $1 uuid  shipment   $2 smallint  party   $3 text  what it says   $4 text  state   $5 text  what went wrong, or null
update shipping.notifications
set state = $4, last_error = coalesce($5, last_error),
    finished_at = case when $4 <> 'pending' then coalesce(finished_at, now()) end
where shipment_id = $1 and party_no = $2 and kind = $3
