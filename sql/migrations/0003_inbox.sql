-- What consumers have done, and what they have yet to do: one row a consumer and message.
--
-- Written in the transaction of the effect, a row is born done; that is all a consumer written by hand needs. The
-- consumer library (src/consumer.rs) keeps a message here that is not done yet: from the moment such a row is
-- committed, the inbox owns the message and the broker has its acknowledgement.
create table relay.inbox (
    consumer        text not null,
    message_id      text not null,
    received_at     timestamptz not null default now(),
    -- claimed: a worker is at it, until due_at. retrying: to be tried at due_at. held: behind an unfinished message of
    -- its key. done, dead: at rest.
    state           text not null default 'done'
                        check (state in ('claimed', 'retrying', 'held', 'done', 'dead')),
    attempts        integer not null default 0 check (attempts >= 0),
    due_at          timestamptz,
    -- Of the current claim. Whoever has lost it writes nothing.
    claim_token     uuid,
    done_at         timestamptz default now(),
    event_type      text,
    aggregate_type  text,
    aggregate_id    text,
    seq             bigint,
    -- Exchange, routing key, headers and the rest. Not jsonb: a header may hold \u0000.
    properties      json,
    body            bytea,
    last_error      text check (octet_length(last_error) <= 4096),
    first_failed_at timestamptz,
    -- Why it is dead; or, while it is unfinished, why it is to be, as soon as its dead letter is confirmed.
    reason          text,
    dead_at         timestamptz,
    replays         integer not null default 0,
    -- A dead message that an operator discarded.
    resolved_at     timestamptz,
    primary key (consumer, message_id),
    check ((state = 'done') = (done_at is not null)),
    check ((state = 'dead') = (dead_at is not null)),
    check ((state in ('claimed', 'retrying')) = (due_at is not null)),
    check ((state = 'claimed') = (claim_token is not null)),
    -- What is unfinished or dead can be tried again from the row alone.
    check (state = 'done' or (body is not null and properties is not null))
);
comment on table relay.inbox is 'Insert (consumer, message_id) in the transaction of the effect; a conflict means it is done already.';
comment on column relay.inbox.attempts is 'Counted before the work starts, so that a message that kills its worker is counted.';
comment on column relay.inbox.body is 'The message''s body, kept until it is done.';

-- Rows that are done are in none of these, so they cost the primary key alone.
create index inbox_due on relay.inbox (consumer, due_at) where state in ('claimed', 'retrying');
create index inbox_unfinished on relay.inbox (consumer, aggregate_type, aggregate_id, seq)
    where state in ('claimed', 'retrying', 'held');
create index inbox_dead on relay.inbox (consumer, dead_at, message_id) where state = 'dead' and resolved_at is null;
-- For pruning. Rows are written about in the order in which they are done, so summaries of pages are enough.
create index inbox_done on relay.inbox using brin (done_at) with (autosummarize = on);

-- As of the outbox: by a count of rows, not by a share of the table.
alter table relay.inbox set (
    autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0.0, autovacuum_vacuum_insert_threshold = 100000
);

-- Consumers built on the library, by their own word. An operator who replays something older than the horizon is
-- warned: the consumer may have forgotten that it did it.
create table relay.consumers (
    consumer        text primary key,
    horizon         interval not null,
    seen_at         timestamptz not null default now()
);
