-- The ledger of a shipment, in the order of steps and subjects; and with each entry whether the carrier has a parcel of the
-- shipment, by its own word: from rank 2 on, but for a label it cancelled. That is found out once for all of them.
-- $1 uuid  shipment
select t.step, t.subject, t.state, t.failure, t.asked, t.task, t.undoing, t.attempts, t.checks, t.stalled,
       (select exists (select from shipping.cases c
                       where c.shipment_id = $1 and c.tracking_rank >= 2
                         and c.tracking_status is distinct from 'cancelled')) as collected
from shipping.steps t
where t.shipment_id = $1
order by array_position(array['validate_address', 'buy_label', 'record_tracking', 'create_invoice', 'fulfil_order', 'notify'],
                        t.step), length(t.subject), t.subject
