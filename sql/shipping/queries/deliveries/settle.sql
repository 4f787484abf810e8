-- What became of an attempt to call a webhook.
-- $1 uuid  shipment   $2 smallint  party   $3 text  what it says   $4 text  state
-- $5 bigint  microseconds until the next attempt; null if there is none
-- $6 smallint  the answer's status, or null   $7 text  what went wrong, or null
update shipping.deliveries d
set state = $4,
    next_attempt_at = case when $4 = 'pending' then now() + coalesce($5, 0) * interval '1 microsecond' end,
    finished_at = case when $4 <> 'pending' then now() end,
    last_status = $6,
    last_error = $7
from shipping.notifications n
where n.notification_id = d.notification_id and n.shipment_id = $1 and n.party_no = $2 and n.kind = $3
