-- The ledger of a shipment, in the order of steps and subjects.
-- $1 uuid  shipment
select t.step, t.subject, t.state, t.failure, t.asked, t.task, t.undoing, t.attempts, t.checks, t.stalled
from shipping.steps t
where t.shipment_id = $1
order by array_position(array['validate_address', 'buy_label', 'record_tracking', 'create_invoice', 'fulfil_order', 'notify'],
                        t.step), length(t.subject), t.subject
