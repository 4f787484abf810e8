-- Credits a shipment's invoice in full, once. Returns nothing if there is none, or it is credited already.
-- $1 uuid  shipment   $2 text  reason
insert into shipping.credit_notes (invoice_no, total_minor, currency, reason)
select i.invoice_no, i.total_minor, i.currency, $2 from shipping.invoices i where i.shipment_id = $1
on conflict (invoice_no) do nothing
returning credit_note_no, total_minor, currency
