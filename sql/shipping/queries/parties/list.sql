-- The subjects of an order's notifications.
-- $1 text  order
select p.channel || '/' || p.party_no as subject
from shipping.parties p
where p.order_id = $1
order by p.party_no
