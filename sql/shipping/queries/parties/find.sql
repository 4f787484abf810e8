-- A party of a shipment's order, and how it is told. No row: the order has no such party any more.
-- $1 uuid  shipment   $2 smallint  the party's number in the order
select s.order_id, p.channel, p.mail, p.endpoint_id, e.url, e.version, e.secret,
       case when e.previous_until > now() then e.previous_secret end, e.disabled_reason
from shipping.shipments s
join shipping.parties p using (order_id)
left join shipping.webhook_endpoints e using (endpoint_id)
where s.shipment_id = $1 and p.party_no = $2
