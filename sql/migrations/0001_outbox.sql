-- The outbox and what publishing it in order needs.
--
-- `relay.` stands for the configured schema: the migrator puts its name in. A migration is never edited once
-- released; the next one expands, and a later one contracts.

-- A time-ordered UUID (RFC 9562, version 7): 48 bits of Unix milliseconds, then randomness. The default of
-- event_id, so that the unique index grows at its right end. PostgreSQL 18 has one built in; 14 to 17 don't.
create function relay.uuid_v7() returns uuid
    language sql volatile parallel safe
    return (
        lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0')
        || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14)
    )::uuid;

-- The lane of an aggregate key, 0 to 31. Lanes are what relays own and share; a key never changes its lane.
-- hashtextextended is what hash partitioning stores on disk, so major versions and pg_upgrade keep it.
create function relay.lane_of(aggregate_type text, aggregate_id text) returns smallint
    language sql immutable strict parallel safe
    return (hashtextextended(aggregate_type || chr(31) || aggregate_id, 0) & 31)::smallint;

create table relay.outbox (
    seq             bigint generated always as identity primary key,
    event_id        uuid not null default relay.uuid_v7() unique,
    aggregate_type  text not null,
    aggregate_id    text not null,
    event_type      text not null,
    payload         jsonb not null,
    headers         jsonb not null default '{}',
    exchange        text,
    routing_key     text,
    created_at      timestamptz not null default now(),
    available_at    timestamptz not null default now(),
    attempts        integer not null default 0,
    last_error      text check (octet_length(last_error) <= 4096),
    published_at    timestamptz,
    dead_at         timestamptz,
    dead_reason     text,
    -- Written out rather than calling relay.lane_of: the expression is inlined into every insert.
    lane            smallint not null generated always as
                        ((hashtextextended(aggregate_type || chr(31) || aggregate_id, 0) & 31)::smallint) stored,
    -- Of an unfinished row: ready (found by seq), waiting (found by when it is due), held (found by its key).
    state           text not null default 'ready' check (state in ('ready', 'waiting', 'held')),
    -- Rises whenever an operator replays or edits the row, so that a mark meant for an older one misses it.
    generation      integer not null default 0,
    first_failed_at timestamptz,
    replays         integer not null default 0,
    -- A dead row that an operator discarded.
    resolved_at     timestamptz
);

comment on table relay.outbox is 'Rows to publish. Insert; relay does the rest.';
comment on column relay.outbox.seq is 'Publishing order within an aggregate key; never reused.';
comment on column relay.outbox.event_id is 'AMQP message_id: the key by which consumers dedupe. Never changes.';
comment on column relay.outbox.available_at is 'Not to be published before this; also the time of the next attempt.';
comment on column relay.outbox.attempts is 'Failures of this very message; an outage of the broker costs none.';
comment on column relay.outbox.published_at is 'When relay recorded the broker''s confirm.';

-- Every unfinished row is in exactly one of the first three.
create index outbox_ready on relay.outbox (seq)
    where state = 'ready' and published_at is null and dead_at is null;
create index outbox_waiting on relay.outbox (available_at, seq)
    where state = 'waiting' and published_at is null and dead_at is null;
create index outbox_held on relay.outbox (aggregate_type, aggregate_id, seq)
    where state = 'held' and published_at is null and dead_at is null;
create index outbox_dead on relay.outbox (seq)
    where dead_at is not null and resolved_at is null;

-- A queue table turns over completely: vacuum by a fixed count of rows, not by a share of the table, and do not
-- let it pause. Analyze often, so that the planner never believes the queue empty or endless.
alter table relay.outbox set (
    autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0.0, autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

-- Keys that wait, with their head: the row all others of the key are held behind.
create table relay.held_keys (
    aggregate_type  text not null,
    aggregate_id    text not null,
    lane            smallint not null,
    head_seq        bigint not null,
    -- retrying: the head failed and is due again at due_at. parked: the head is dead and the key waits for an
    -- operator. releasing: the head is settled and the held rows are on their way.
    reason          text not null check (reason in ('retrying', 'parked', 'releasing')),
    due_at          timestamptz,
    since           timestamptz not null default now(),
    primary key (aggregate_type, aggregate_id)
);
create index held_keys_releasing on relay.held_keys (since) where reason = 'releasing';
create index held_keys_head on relay.held_keys (head_seq);
create index held_keys_due on relay.held_keys (due_at) where reason = 'retrying';

-- Forgets keys whose held rows are all done. A row may be on its way to be held right now, by another connection, so the
-- key's entry is locked first and the rows are looked for after: inside a function each statement has a snapshot of its
-- own, which one statement could not have. Whoever holds rows locks the entry as well, and is skipped here.
create function relay.close_released(mask integer) returns void
    language plpgsql as $body$
declare
    k record;
begin
    for k in
        select h.aggregate_type, h.aggregate_id
        from relay.held_keys h
        where h.reason = 'releasing' and (1 << h.lane) & mask <> 0
        order by h.since
        limit 1000
        for update skip locked
    loop
        delete from relay.held_keys h
        where h.aggregate_type = k.aggregate_type and h.aggregate_id = k.aggregate_id
          and not exists (
              select from relay.outbox o
              where o.aggregate_type = k.aggregate_type and o.aggregate_id = k.aggregate_id
                and o.state = 'held' and o.published_at is null and o.dead_at is null);
    end loop;
end
$body$;

-- Relays that live, by their own word: for status and for sharing the lanes.
create table relay.relays (
    relay_id        uuid primary key,
    name            text not null,
    version         text not null,
    started_at      timestamptz not null default now(),
    seen_at         timestamptz not null default now()
);

-- Who owns each lane, until when by the database's clock, under which fencing token.
create table relay.lanes (
    lane            smallint primary key check (lane between 0 and 31),
    owner           uuid,
    token           bigint not null default 0,
    expires_at      timestamptz not null default '-infinity'
);
insert into relay.lanes (lane) select generate_series(0, 31);

-- What operators did.
create table relay.audit (
    audit_id        bigint generated always as identity primary key,
    at              timestamptz not null default now(),
    actor           text not null,
    action          text not null,
    filter          jsonb not null,
    affected        bigint not null,
    note            text
);

-- For producers. A plain insert works as well.
create function relay.enqueue(
    aggregate_type text, aggregate_id text, event_type text, payload jsonb,
    headers jsonb default '{}', available_at timestamptz default now(),
    exchange text default null, routing_key text default null, event_id uuid default null
) returns uuid
    language sql volatile
    begin atomic
        insert into relay.outbox (event_id, aggregate_type, aggregate_id, event_type, payload, headers,
                                  exchange, routing_key, available_at)
        values (coalesce(enqueue.event_id, relay.uuid_v7()), enqueue.aggregate_type, enqueue.aggregate_id,
                enqueue.event_type, enqueue.payload, coalesce(enqueue.headers, '{}'),
                enqueue.exchange, enqueue.routing_key, coalesce(enqueue.available_at, now()))
        returning outbox.event_id;
    end;
comment on function relay.enqueue is 'Adds one event to the outbox, in the caller''s transaction.';
