-- What operators pause, and what they may mend.
--
-- While everything is paused, no relay scans or publishes, and nothing is written to rows. A pause of a route or of a key
-- parks keys: when a row's turn has come that a pause is about, it becomes held, and its key is parked behind it for that
-- pause. Such keys cost no scan anything.
create table relay.pauses (
    pause_id        bigint generated always as identity primary key,
    scope           text not null check (scope in ('all', 'route', 'key')),
    exchange        text check (octet_length(exchange) between 1 and 255),
    -- As the binding of a topic exchange: words between dots, * for any one of them, # for any number.
    routing_key     text check (octet_length(routing_key) between 1 and 255),
    aggregate_type  text check (octet_length(aggregate_type) between 1 and 255),
    aggregate_id    text check (octet_length(aggregate_id) between 1 and 255),
    since           timestamptz not null default now(),
    actor           text not null,
    note            text,
    check ((scope = 'route') = (exchange is not null) and (scope = 'route') = (routing_key is not null)),
    check ((scope = 'key') = (aggregate_type is not null) and (scope = 'key') = (aggregate_id is not null))
);
-- Nothing is paused twice in the same words.
create unique index pauses_once on relay.pauses
    (scope, coalesce(exchange, ''), coalesce(routing_key, ''), coalesce(aggregate_type, ''), coalesce(aggregate_id, ''));

-- Of a parked key that waits for a pause rather than for its dead head: which one. (Of any other key it means nothing.) To an
-- older relay it is parked like others, and so it holds what is behind it, too.
alter table relay.held_keys add column paused_by bigint;
create index held_keys_paused on relay.held_keys (paused_by, aggregate_type, aggregate_id) where paused_by is not null;

-- The payload that the producer wrote, of a dead row whose payload an operator changed.
alter table relay.outbox add column original_payload jsonb;

-- A role that may run relay may read pauses, and keep one from being ended for a moment: locking a row takes leave to
-- change something, and a generated id can't be changed to anything chosen.
do $block$
declare
    grantee text;
begin
    for grantee in
        select acl.grantee::regrole
        from pg_attribute a, aclexplode(a.attacl) acl
        where a.attrelid = 'relay.outbox'::regclass and a.attname = 'last_error'
          and acl.privilege_type = 'UPDATE' and acl.grantee <> 0
    loop
        execute format('grant select, update (pause_id) on relay.pauses to %s', grantee);
    end loop;
end
$block$;
