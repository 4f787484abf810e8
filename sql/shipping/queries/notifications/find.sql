-- A notification that was written before: its id, and what it says.
-- $1 uuid  shipment   $2 smallint  party   $3 text  what it says
select n.notification_id, n.body
from shipping.notifications n
where n.shipment_id = $1 and n.party_no = $2 and n.kind = $3
