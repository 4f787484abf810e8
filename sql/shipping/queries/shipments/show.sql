-- A shipment for whoever asks: with its cases, its ledger and its invoice, as JSON.
-- $1 uuid  shipment
select s.version, s.state, json_build_object(
    'shipment_id', s.shipment_id, 'order_id', s.order_id, 'state', s.state, 'reason', s.reason, 'version', s.version,
    'requested_by', s.caller, 'created_at', s.created_at, 'updated_at', s.updated_at,
    'ship_to', s.ship_to, 'verified_to', s.verified_to, 'ship_from', s.ship_from, 'tracking_code', s.tracking_code,
    'cases', (select coalesce(json_agg(json_build_object(
                  'case', c.case_no, 'weight_grams', c.weight_grams, 'length_mm', c.length_mm, 'width_mm', c.width_mm,
                  'height_mm', c.height_mm,
                  'lines', (select coalesce(json_agg(json_build_object('line', l.line_no, 'quantity', l.quantity)
                                                     order by l.line_no), '[]')
                            from shipping.case_lines l where l.shipment_id = c.shipment_id and l.case_no = c.case_no),
                  'carrier', c.carrier, 'service', c.service, 'tracking_code', c.tracking_code,
                  'tracking_status', c.tracking_status, 'tracked_at', c.tracked_at, 'label_url', c.label_url,
                  'refund', c.refund) order by c.case_no), '[]')
              from shipping.cases c where c.shipment_id = s.shipment_id),
    'steps', (select coalesce(json_agg(json_build_object(
                  'step', t.step, 'subject', t.subject, 'state', t.state, 'failure', t.failure,
                  'attempts', t.attempts, 'needs_attention', t.stalled, 'last_error', t.last_error,
                  'started_at', t.started_at, 'finished_at', t.finished_at)
                  order by array_position(array['validate_address', 'buy_label', 'record_tracking', 'create_invoice',
                                                'fulfil_order', 'notify'], t.step), length(t.subject), t.subject), '[]')
              from shipping.steps t where t.shipment_id = s.shipment_id),
    'invoice', (select json_build_object('invoice_no', i.invoice_no, 'total_minor', i.total_minor,
                    'currency', i.currency, 'issued_at', i.issued_at, 'credit_note_no', n.credit_note_no)
                from shipping.invoices i left join shipping.credit_notes n using (invoice_no)
                where i.shipment_id = s.shipment_id))::text as body
from shipping.shipments s
where s.shipment_id = $1
