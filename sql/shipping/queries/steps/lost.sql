-- Entries whose work order is out for long, and that the inbox does not hold: it may have got lost, so another is sent. The
-- longest out first.
-- $1 text  step   $2 text  its consumer   $3 bigint  for so long, microseconds   $4 bigint  at most so many
select t.shipment_id, t.subject
from shipping.steps t
where t.asked and t.step = $1 and t.updated_at < now() - $3 * interval '1 microsecond'
  and not exists (select from relay.inbox i
                  where i.consumer = $2 and i.aggregate_type = 'shipment' and i.aggregate_id = t.shipment_id::text
                    and i.event_type = t.step and i.state in ('claimed', 'retrying', 'held'))
order by t.updated_at
limit $4
