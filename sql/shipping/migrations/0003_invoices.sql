-- Invoices and credit notes. Money is whole minor units and a currency.

create table shipping.invoices (
    -- The number on it. It has gaps: a number taken in a transaction that was rolled back is not given again.
    invoice_no      bigint generated always as identity (start with 100001) primary key,
    -- One in a shipment's life: a shipment whose invoice was credited is being undone and is never billed again.
    shipment_id     uuid not null,
    order_id        text not null,
    total_minor     bigint not null check (total_minor >= 0),
    currency        text not null check (currency ~ '^[A-Z]{3}$'),
    issued_at       timestamptz not null default now(),
    constraint invoices_one_per_shipment unique (shipment_id),
    foreign key (shipment_id, order_id) references shipping.shipments (shipment_id, order_id),
    unique (invoice_no, total_minor, currency)
);

create table shipping.invoice_lines (
    invoice_no       bigint not null references shipping.invoices,
    line_no          smallint not null check (line_no > 0),
    sku              text not null,
    quantity         integer not null check (quantity > 0),
    unit_price_minor bigint not null check (unit_price_minor >= 0),
    amount_minor     bigint not null generated always as (quantity * unit_price_minor) stored,
    primary key (invoice_no, line_no)
);

-- In full, once. What is credited is what was billed, says the foreign key.
create table shipping.credit_notes (
    credit_note_no  bigint generated always as identity (start with 500001) primary key,
    invoice_no      bigint not null,
    total_minor     bigint not null,
    currency        text not null,
    reason          text not null check (octet_length(reason) between 1 and 4096),
    issued_at       timestamptz not null default now(),
    constraint credit_notes_one_per_invoice unique (invoice_no),
    foreign key (invoice_no, total_minor, currency) references shipping.invoices (invoice_no, total_minor, currency)
);

-- At the end of the transaction, for the invoice is written before its lines: the total is their sum. No constraint can
-- add up rows.
create function shipping.check_invoice() returns trigger
    language plpgsql security definer set search_path = pg_catalog as $body$
begin
    if exists (
        select from shipping.invoices i
        where i.invoice_no = new.invoice_no
          and i.total_minor <> (select coalesce(sum(l.amount_minor), -1) from shipping.invoice_lines l where l.invoice_no = i.invoice_no))
    then
        raise exception 'invoice % is not the sum of its lines', new.invoice_no
            using errcode = 'check_violation', constraint = 'invoices_add_up', table = 'invoices', schema = 'shipping';
    end if;
    return null;
end
$body$;
create constraint trigger invoices_add_up after insert or update on shipping.invoices
    deferrable initially deferred for each row execute function shipping.check_invoice();
create constraint trigger invoice_lines_add_up after insert or update on shipping.invoice_lines
    deferrable initially deferred for each row execute function shipping.check_invoice();

-- Issued is issued: an invoice is credited, never changed.
create trigger invoices_are_kept before update or delete on shipping.invoices for each row execute function shipping.refuse();
create trigger invoice_lines_are_kept before update or delete on shipping.invoice_lines
    for each row execute function shipping.refuse();
create trigger credit_notes_are_kept before update or delete on shipping.credit_notes
    for each row execute function shipping.refuse();
