-- Orders, their lines, and who is told about them.
--
-- The schema's name is fixed. A migration is never edited once released; the next one expands, and a later one contracts.
-- Every constraint here is the last line: the program decides, and what it must never do is refused by the database too.

create table shipping.orders (
    order_id        text primary key check (octet_length(order_id) between 1 and 100),
    -- Rises with every change: If-Match compares it.
    version         bigint not null default 1 check (version > 0),
    state           text not null default 'open' check (state in ('open', 'partially_fulfilled', 'fulfilled')),
    currency        text not null check (currency ~ '^[A-Z]{3}$'),
    ship_to         jsonb not null check (jsonb_typeof(ship_to) = 'object'),
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now()
);

create table shipping.order_lines (
    order_id         text not null references shipping.orders,
    line_no          smallint not null check (line_no > 0),
    sku              text not null check (octet_length(sku) between 1 and 200),
    ordered          integer not null check (ordered > 0),
    -- Taken on by shipments that are under way, and shipped.
    reserved         integer not null default 0 check (reserved >= 0),
    shipped          integer not null default 0 check (shipped >= 0),
    unit_price_minor bigint not null check (unit_price_minor >= 0),
    primary key (order_id, line_no),
    -- Said so that 32 bits can't overflow.
    constraint order_lines_not_over_shipped check (reserved::bigint + shipped <= ordered)
);

-- Where webhooks go. Secrets: the current one signs, and for a while after a rotation the previous one as well.
create table shipping.webhook_endpoints (
    endpoint_id     uuid primary key,
    caller          text not null check (octet_length(caller) between 1 and 200),
    url             text not null check (octet_length(url) <= 2000 and url ~ '^https?://'),
    secret          bytea not null check (octet_length(secret) between 24 and 64),
    previous_secret bytea check (octet_length(previous_secret) between 24 and 64),
    previous_until  timestamptz,
    version         bigint not null default 1 check (version > 0),
    created_at      timestamptz not null default now(),
    -- By its owner, or because it answered 410.
    disabled_at     timestamptz,
    disabled_reason text,
    check ((previous_secret is null) = (previous_until is null)),
    check (previous_secret <> secret),
    check ((disabled_at is null) = (disabled_reason is null))
);
create index webhook_endpoints_caller on shipping.webhook_endpoints (caller);

create table shipping.parties (
    order_id        text not null references shipping.orders,
    party_no        smallint not null check (party_no > 0),
    role            text not null check (role in ('customer', 'sales_representative', 'other')),
    channel         text not null check (channel in ('mail', 'webhook')),
    mail            text check (octet_length(mail) between 3 and 320 and position('@' in mail) > 1),
    endpoint_id     uuid references shipping.webhook_endpoints,
    primary key (order_id, party_no),
    check ((channel = 'mail') = (mail is not null)),
    check ((channel = 'webhook') = (endpoint_id is not null))
);
create index parties_endpoint on shipping.parties (endpoint_id) where endpoint_id is not null;
create unique index parties_one_customer on shipping.parties (order_id) where role = 'customer';
