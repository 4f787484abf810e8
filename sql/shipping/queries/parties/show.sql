-- Who is told about an order, in full.
-- $1 text  order
select p.role, p.mail, p.endpoint_id
from shipping.parties p
where p.order_id = $1
order by p.party_no
