-- A new notification, before it is told. That there is one of a kind for a party, a constraint says; whoever comes here
-- holds the shipment's lock and has looked.
-- $1 uuid  its id     $2 uuid  shipment   $3 text  order   $4 smallint  party   $5 text  what it says
-- $6 bytea  the bytes that are sent
insert into shipping.notifications (notification_id, shipment_id, order_id, party_no, kind, body)
values ($1, $2, $3, $4, $5, $6)
