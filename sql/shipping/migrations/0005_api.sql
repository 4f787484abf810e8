-- What the API needs beside the shipments: idempotency keys, the carrier's webhooks, the orders' read model, and the
-- record of what operators did.

-- The answer to a request, kept byte for byte. Written in the transaction of what the request did, whole: a key without
-- an answer is one whose request is still running, and that one nobody else can see.
create table shipping.idempotency_keys (
    -- Who asked: the same key of two callers is two keys.
    caller          text not null check (octet_length(caller) between 1 and 200),
    key             text not null check (octet_length(key) between 1 and 255),
    -- SHA-256 of the request.
    fingerprint     bytea not null check (octet_length(fingerprint) = 32),
    status          smallint not null check (status between 200 and 599),
    headers         jsonb not null default '{}' check (jsonb_typeof(headers) = 'object'),
    body            bytea not null,
    shipment_id     uuid references shipping.shipments deferrable initially deferred,
    created_at      timestamptz not null default now(),
    expires_at      timestamptz not null,
    primary key (caller, key),
    check (expires_at > created_at)
);
create index idempotency_keys_expired on shipping.idempotency_keys (expires_at);

create table shipping.carrier_events (
    event_id        text primary key check (octet_length(event_id) between 1 and 200),
    -- As it was signed.
    body            bytea not null check (octet_length(body) <= 262144),
    received_at     timestamptz not null default now(),
    applied_at      timestamptz,
    -- What became of it; null until it is applied.
    result          text check (octet_length(result) between 1 and 4096),
    check ((applied_at is null) = (result is null))
);
create index carrier_events_open on shipping.carrier_events (received_at) where applied_at is null;

-- Kept by a consumer of the orders' events; as old as they are. Compared by version, so that old news changes nothing.
create table shipping.order_views (
    order_id        text primary key,
    version         bigint not null check (version > 0),
    body            jsonb not null check (jsonb_typeof(body) = 'object'),
    updated_at      timestamptz not null default now()
);

create table shipping.acts (
    act_id          bigint generated always as identity primary key,
    at              timestamptz not null default now(),
    actor           text not null check (octet_length(actor) between 1 and 200),
    action          text not null check (action in ('cancel', 'retry', 'resolve', 'disable_endpoint', 'enable_endpoint')),
    shipment_id     uuid references shipping.shipments,
    step            text,
    subject         text,
    -- Why. An act without a reason is none.
    reason          text not null check (octet_length(reason) between 1 and 4096),
    detail          jsonb not null default '{}' check (jsonb_typeof(detail) = 'object')
);
create index acts_shipment on shipping.acts (shipment_id, act_id);
create trigger acts_are_kept before update or delete on shipping.acts for each row execute function shipping.refuse();
