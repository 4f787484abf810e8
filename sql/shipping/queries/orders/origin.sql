-- What a shipment takes over from its order: where to, and the subjects of its notifications.
-- $1 text  order
select o.ship_to::text as ship_to,
       array(select p.channel || '/' || p.party_no from shipping.parties p where p.order_id = o.order_id
             order by p.party_no) as subjects
from shipping.orders o
where o.order_id = $1
