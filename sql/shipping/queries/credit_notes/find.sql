-- The credit note of a shipment's invoice.
-- $1 uuid  shipment
select c.credit_note_no, c.total_minor, c.currency
from shipping.credit_notes c join shipping.invoices i using (invoice_no)
where i.shipment_id = $1
