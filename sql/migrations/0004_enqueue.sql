-- The same in PL/pgSQL, which keeps the plan: a function in SQL is planned in every statement anew, which took longer than
-- the insert.
create or replace function relay.enqueue(
    aggregate_type text, aggregate_id text, event_type text, payload jsonb,
    headers jsonb default '{}', available_at timestamptz default now(),
    exchange text default null, routing_key text default null, event_id uuid default null
) returns uuid
    language plpgsql volatile
    as $function$
    declare
        id uuid;
    begin
        insert into relay.outbox as o (event_id, aggregate_type, aggregate_id, event_type, payload, headers,
                                       exchange, routing_key, available_at)
        values (coalesce(enqueue.event_id, relay.uuid_v7()), enqueue.aggregate_type, enqueue.aggregate_id,
                enqueue.event_type, enqueue.payload, coalesce(enqueue.headers, '{}'),
                enqueue.exchange, enqueue.routing_key, coalesce(enqueue.available_at, pg_catalog.now()))
        returning o.event_id into id;
        return id;
    end
    $function$;
