-- Everything about a shipment, for people: itself, its ledger, cases, bills and what operators did. Names are the columns'.
-- $1 uuid  shipment
select (to_jsonb(s) || jsonb_build_object(
    'steps', (select coalesce(jsonb_agg(to_jsonb(t) - 'shipment_id' - 'case_no'
                 order by array_position(array['validate_address', 'buy_label', 'record_tracking', 'create_invoice',
                                               'fulfil_order', 'notify'], t.step), length(t.subject), t.subject), '[]')
              from shipping.steps t where t.shipment_id = s.shipment_id),
    'cases', (select coalesce(jsonb_agg(to_jsonb(c) - 'shipment_id' order by c.case_no), '[]')
              from shipping.cases c where c.shipment_id = s.shipment_id),
    'invoices', (select coalesce(jsonb_agg(to_jsonb(i) - 'shipment_id' - 'order_id' || jsonb_build_object(
                     'credit_note_no', (select n.credit_note_no from shipping.credit_notes n where n.invoice_no = i.invoice_no))), '[]')
                 from shipping.invoices i where i.shipment_id = s.shipment_id),
    'acts', (select coalesce(jsonb_agg(to_jsonb(a) - 'shipment_id' order by a.act_id), '[]')
             from shipping.acts a where a.shipment_id = s.shipment_id)))::text
from shipping.shipments s
where s.shipment_id = $1
