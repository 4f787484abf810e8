-- What consumers have done: one row a consumer and message, written in the transaction of the effect.
create table relay.inbox (
    consumer        text not null,
    message_id      text not null,
    received_at     timestamptz not null default now(),
    primary key (consumer, message_id)
);
comment on table relay.inbox is 'Insert (consumer, message_id) in the transaction of the effect; a conflict means it is done already.';
