-- Shipments, their cases, and the ledger of their steps.

create table shipping.shipments (
    shipment_id     uuid primary key,
    order_id        text not null references shipping.orders,
    caller          text not null check (octet_length(caller) between 1 and 200),
    state           text not null default 'accepted' check (state in ('accepted', 'shipping', 'shipped', 'cancelling',
                        'cancelled', 'failing', 'failed', 'needs_attention')),
    -- Decided once; see the trigger.
    undo            text check (undo in ('cancelled', 'failed')),
    quantities      text not null default 'reserved' check (quantities in ('reserved', 'fulfilled', 'released')),
    -- Rises with every change: the ETag, and the version of events.
    version         bigint not null default 1 check (version > 0),
    -- What went wrong, for people.
    reason          text check (octet_length(reason) <= 4096),
    ship_to         jsonb not null check (jsonb_typeof(ship_to) = 'object'),
    ship_from       jsonb not null check (jsonb_typeof(ship_from) = 'object'),
    -- As the carrier knows it.
    verified_to     jsonb check (jsonb_typeof(verified_to) = 'object'),
    tracking_code   text check (octet_length(tracking_code) between 1 and 200),
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    unique (shipment_id, order_id),
    check (state not in ('cancelling', 'cancelled') or undo = 'cancelled' and undo is not null),
    check (state not in ('failing', 'failed') or undo = 'failed' and undo is not null),
    check (state not in ('accepted', 'shipping', 'shipped') or undo is null),
    check (state not in ('cancelled', 'failed') or quantities = 'released'),
    check (state <> 'shipped' or quantities = 'fulfilled'),
    check (quantities <> 'released' or undo is not null)
);
create index shipments_order on shipping.shipments (order_id, created_at);
create index shipments_attention on shipping.shipments (updated_at) where state = 'needs_attention';

create table shipping.cases (
    shipment_id         uuid not null references shipping.shipments,
    case_no             smallint not null check (case_no > 0),
    -- Ours, given to the carrier; stored before it is called, as all that is looked up by it.
    reference           uuid not null unique,
    weight_grams        integer not null check (weight_grams > 0),
    length_mm           integer not null check (length_mm > 0),
    width_mm            integer not null check (width_mm > 0),
    height_mm           integer not null check (height_mm > 0),
    -- The carrier's, stored before a label is bought by it.
    carrier_shipment_id text unique check (octet_length(carrier_shipment_id) between 1 and 200),
    rate_id             text check (octet_length(rate_id) between 1 and 200),
    -- The label.
    carrier             text check (octet_length(carrier) between 1 and 100),
    service             text check (octet_length(service) between 1 and 100),
    tracking_code       text check (octet_length(tracking_code) between 1 and 200),
    label_url           text check (octet_length(label_url) <= 2000),
    cost_minor          bigint check (cost_minor >= 0),
    cost_currency       text check (cost_currency ~ '^[A-Z]{3}$'),
    bought_at           timestamptz,
    -- Since when nobody knows whether it was bought, while that is so.
    lost_at             timestamptz,
    -- Of the label, when it is voided.
    refund              text check (refund in ('submitted', 'refunded', 'rejected', 'not_applicable')),
    refund_at           timestamptz,
    -- The carrier's word on the parcel, which never moves back.
    tracking_status     text check (octet_length(tracking_status) between 1 and 100),
    tracking_rank       smallint not null default 0,
    tracked_at          timestamptz,
    primary key (shipment_id, case_no),
    unique (carrier, tracking_code),
    check (num_nulls(carrier, tracking_code, cost_minor, cost_currency, bought_at) in (0, 5)),
    check (bought_at is null or carrier_shipment_id is not null),
    check (rate_id is null or carrier_shipment_id is not null),
    check (refund is null or bought_at is not null),
    check ((refund is null) = (refund_at is null))
);

create table shipping.case_lines (
    shipment_id     uuid not null,
    case_no         smallint not null,
    order_id        text not null,
    line_no         smallint not null,
    quantity        integer not null check (quantity > 0),
    primary key (shipment_id, case_no, line_no),
    foreign key (shipment_id, case_no) references shipping.cases,
    foreign key (shipment_id, order_id) references shipping.shipments (shipment_id, order_id),
    foreign key (order_id, line_no) references shipping.order_lines
);
create index case_lines_line on shipping.case_lines (order_id, line_no) include (shipment_id, quantity);

-- What shipments take on is no more than what was ordered, whatever the counters of the line say. No constraint can add
-- up rows. Whoever adds some locks the line first, so that two can't miss each other.
create function shipping.check_line() returns trigger
    language plpgsql security definer set search_path = pg_catalog as $body$
declare
    most bigint;
    taken bigint;
begin
    select l.ordered into most from shipping.order_lines l
    where l.order_id = new.order_id and l.line_no = new.line_no for no key update;
    select sum(c.quantity) into taken
    from shipping.case_lines c join shipping.shipments s using (shipment_id)
    where c.order_id = new.order_id and c.line_no = new.line_no and s.quantities <> 'released';
    if taken > most then
        raise exception 'line % of order % would be over-shipped: % of %', new.line_no, new.order_id, taken, most
            using errcode = 'check_violation', constraint = 'case_lines_not_over_shipped', table = 'case_lines', schema = 'shipping';
    end if;
    return null;
end
$body$;
create trigger not_over_shipped after insert or update of order_id, line_no, quantity on shipping.case_lines
    for each row execute function shipping.check_line();

create table shipping.steps (
    shipment_id     uuid not null references shipping.shipments,
    step            text not null check (step in ('validate_address', 'buy_label', 'record_tracking', 'create_invoice',
                        'fulfil_order', 'notify')),
    -- shipment, case/1, mail/2, webhook/3
    subject         text not null,
    state           text not null default 'pending' check (state in ('pending', 'running', 'succeeded', 'failed', 'unknown',
                        'compensating', 'compensated', 'skipped')),
    failure         text check (failure in ('refused', 'exhausted')),
    -- Whether a work order is out, and the number of the latest.
    asked           boolean not null default false,
    task            integer not null default 0 check (task >= 0),
    undoing         boolean not null default false,
    attempts        integer not null default 0 check (attempts >= 0),
    checks          integer not null default 0 check (checks >= 0),
    -- Waits for an operator.
    stalled         boolean not null default false,
    last_error      text check (octet_length(last_error) <= 4096),
    started_at      timestamptz,
    finished_at     timestamptz,
    updated_at      timestamptz not null default now(),
    case_no         smallint generated always as
                        (case when subject ~ '^case/[1-9][0-9]{0,4}$' then substr(subject, 6)::smallint end) stored,
    primary key (shipment_id, step, subject),
    foreign key (shipment_id, case_no) references shipping.cases,
    check (case step when 'buy_label' then case_no is not null
                     when 'notify' then subject ~ '^(mail|webhook)/[1-9][0-9]{0,4}$'
                     else subject = 'shipment' end),
    check ((failure is not null) = (state = 'failed')),
    check (not stalled or (state in ('unknown', 'compensating') and not asked)),
    check (not undoing or state = 'compensating'),
    check (not asked or state in ('pending', 'running', 'unknown', 'compensating')),
    check (state <> 'running' or asked)
);
create index steps_waiting on shipping.steps (updated_at) where stalled or state = 'failed';
create index steps_open on shipping.steps (updated_at) where asked;

-- The three rules about what may follow what. A check sees one version of a row only; a trigger's condition sees both,
-- and costs nothing while it does not hold.
create function shipping.refuse() returns trigger
    language plpgsql as $body$
begin
    raise exception '%: illegal change of %', tg_name, tg_table_name
        using errcode = 'check_violation', constraint = tg_name, table = tg_table_name, schema = 'shipping';
end
$body$;

create trigger steps_legal before update of state on shipping.steps for each row
    when (old.state <> new.state and (old.state, new.state) not in (
        ('pending', 'running'), ('pending', 'skipped'), ('running', 'succeeded'), ('running', 'pending'),
        ('running', 'failed'), ('running', 'unknown'), ('unknown', 'succeeded'), ('unknown', 'pending'),
        ('unknown', 'failed'), ('failed', 'pending'), ('failed', 'skipped'), ('succeeded', 'compensating'),
        ('compensating', 'compensated')))
    execute function shipping.refuse();
create trigger steps_new before insert on shipping.steps for each row
    when (new.state <> 'pending') execute function shipping.refuse();

create trigger shipments_legal before update of state on shipping.shipments for each row
    when (old.state <> new.state and (old.state, new.state) not in (
        ('accepted', 'shipping'), ('accepted', 'cancelling'), ('accepted', 'failing'), ('shipping', 'shipped'),
        ('shipping', 'cancelling'), ('shipping', 'failing'), ('shipping', 'needs_attention'), ('shipped', 'cancelling'),
        ('cancelling', 'cancelled'), ('cancelling', 'needs_attention'), ('failing', 'failed'),
        ('failing', 'needs_attention'), ('needs_attention', 'shipping'), ('needs_attention', 'cancelling'),
        ('needs_attention', 'cancelled'), ('needs_attention', 'failing'), ('needs_attention', 'failed')))
    execute function shipping.refuse();
create trigger shipments_undo_is_kept before update of undo on shipping.shipments for each row
    when (old.undo is not null and new.undo is distinct from old.undo) execute function shipping.refuse();
create trigger shipments_quantities before update of quantities on shipping.shipments for each row
    when (old.quantities <> new.quantities and (old.quantities, new.quantities) not in (
        ('reserved', 'fulfilled'), ('reserved', 'released'), ('fulfilled', 'reserved')))
    execute function shipping.refuse();

-- Gives back what a shipment reserved; returns whether it did. Any worker's step may be the last that had to be undone,
-- but only the fulfilment worker's role may touch the lines; so this runs as its owner, and checks for itself that
-- nothing stands that was bought, billed or shipped.
create function shipping.release(which uuid) returns boolean
    language plpgsql security definer set search_path = pg_catalog as $body$
begin
    update shipping.shipments s set quantities = 'released'
    where s.shipment_id = which and s.quantities = 'reserved' and s.undo is not null
      and not exists (
          select from shipping.steps t
          where t.shipment_id = which and t.step <> 'notify'
            and t.state not in ('skipped', 'failed', 'compensated')
            and not (t.state = 'succeeded' and t.step in ('validate_address', 'record_tracking')));
    if not found then
        return false;
    end if;
    -- In the order of lines, as everybody locks them.
    perform from shipping.order_lines l
    where (l.order_id, l.line_no) in (select c.order_id, c.line_no from shipping.case_lines c where c.shipment_id = which)
    order by l.order_id, l.line_no for no key update;
    update shipping.order_lines l set reserved = l.reserved - c.quantity
    from (select c.order_id, c.line_no, sum(c.quantity)::integer as quantity
          from shipping.case_lines c where c.shipment_id = which group by 1, 2) c
    where l.order_id = c.order_id and l.line_no = c.line_no;
    update shipping.orders o set version = o.version + 1, updated_at = now()
    from shipping.shipments s where s.shipment_id = which and o.order_id = s.order_id;
    return true;
end
$body$;
revoke execute on function shipping.release from public;

-- Roles see every shipment; which entries of the ledger a role may take further, its grants say, as policies.
alter table shipping.steps enable row level security;
