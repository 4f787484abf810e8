-- Changes where parties of an order are told, and adds parties. A party keeps its number, role and channel: ledgers of
-- shipments name it by number and channel.
-- $1 text  order         $2 smallint[]  numbers        $3 text[]  roles
-- $4 text[]  mail addresses, or null    $5 uuid[]  webhook endpoints, or null
insert into shipping.parties (order_id, party_no, role, channel, mail, endpoint_id)
select $1, n.party_no, n.role, case when n.mail is null then 'webhook' else 'mail' end, n.mail, n.endpoint_id
from unnest($2::smallint[], $3::text[], $4::text[], $5::uuid[]) as n (party_no, role, mail, endpoint_id)
on conflict (order_id, party_no) do update set mail = excluded.mail, endpoint_id = excluded.endpoint_id
