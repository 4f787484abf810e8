-- What is told to whom, and what became of it.

create table shipping.notifications (
    -- The mail's Message-ID, and the webhook's id by which its receiver dedupes.
    notification_id uuid primary key,
    shipment_id     uuid not null,
    order_id        text not null,
    party_no        smallint not null,
    kind            text not null check (kind in ('shipped', 'corrected')),
    -- What is sent, byte for byte: every attempt says the same, and a signature is over bytes.
    body            bytea not null check (octet_length(body) between 1 and 65536),
    state           text not null default 'pending' check (state in ('pending', 'sent', 'failed', 'unknown')),
    last_error      text check (octet_length(last_error) <= 4096),
    created_at      timestamptz not null default now(),
    finished_at     timestamptz,
    constraint notifications_once unique (shipment_id, party_no, kind),
    foreign key (shipment_id, order_id) references shipping.shipments (shipment_id, order_id),
    foreign key (order_id, party_no) references shipping.parties,
    check ((finished_at is null) = (state = 'pending'))
);

-- The way of a notification to a webhook endpoint: its retry schedule.
create table shipping.deliveries (
    notification_id uuid primary key references shipping.notifications,
    endpoint_id     uuid not null references shipping.webhook_endpoints,
    state           text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
    attempts        integer not null default 0 check (attempts >= 0),
    next_attempt_at timestamptz default now(),
    last_status     smallint check (last_status between 100 and 599),
    last_error      text check (octet_length(last_error) <= 4096),
    created_at      timestamptz not null default now(),
    finished_at     timestamptz,
    check ((state = 'pending') = (next_attempt_at is not null)),
    check ((state = 'pending') = (finished_at is null))
);
create index deliveries_due on shipping.deliveries (next_attempt_at) where state = 'pending';
create index deliveries_endpoint on shipping.deliveries (endpoint_id, created_at);
