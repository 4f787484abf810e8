-- Bills a shipment, once, for all it ships. Returns nothing if it is billed already, or if a label is not bought.
-- $1 uuid  shipment
with lines as (
    select l.line_no, l.sku, sum(c.quantity)::integer as quantity, l.unit_price_minor
    from shipping.case_lines c join shipping.order_lines l using (order_id, line_no)
    where c.shipment_id = $1
    group by l.line_no, l.sku, l.unit_price_minor
), invoice as (
    insert into shipping.invoices (shipment_id, order_id, total_minor, currency)
    select s.shipment_id, s.order_id, (select sum(n.quantity * n.unit_price_minor) from lines n), o.currency
    from shipping.shipments s join shipping.orders o using (order_id)
    where s.shipment_id = $1 and s.undo is null
      and not exists (select from shipping.steps t
                      where t.shipment_id = $1 and t.step = 'buy_label' and t.state <> 'succeeded')
    on conflict (shipment_id) do nothing
    returning invoice_no, total_minor, currency
), billed as (
    insert into shipping.invoice_lines (invoice_no, line_no, sku, quantity, unit_price_minor)
    select i.invoice_no, n.line_no, n.sku, n.quantity, n.unit_price_minor from invoice i, lines n
)
select i.invoice_no, i.total_minor, i.currency from invoice i
