-- Records what somebody did to a shipment, and why. Never changed afterwards.
-- $1 text  who   $2 text  what   $3 uuid  shipment   $4 text  step, or null   $5 text  subject, or null   $6 text  why
-- $7 text  more of it, as JSON
insert into shipping.acts (actor, action, shipment_id, step, subject, reason, detail)
values ($1, $2, $3, $4, $5, $6, $7::jsonb)
