-- A shipment's invoice.
-- $1 uuid  shipment
select i.invoice_no, i.total_minor, i.currency from shipping.invoices i where i.shipment_id = $1
