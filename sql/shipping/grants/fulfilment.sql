-- What the role of the worker that fulfils orders and reverts it, and that keeps their read model needs, and nothing more, beside relay's own
-- grants: to add events, and to consume. psql -v role=ROLE -f fulfilment.sql runs it; repeating it changes nothing.
grant usage on schema shipping to :"role";
grant select on shipping.migrations to :"role";
-- Every worker decides what follows from its step for all others, and so reads the ledger and may ask, skip or undo; but
-- take a step further that is not its own it can't.
grant select on shipping.shipments, shipping.cases, shipping.steps, shipping.orders, shipping.order_lines to :"role";
grant update (state, undo, version, reason, updated_at) on shipping.shipments to :"role";
grant update (state, failure, asked, task, undoing, attempts, checks, stalled, last_error, started_at, finished_at,
              updated_at) on shipping.steps to :"role";
grant execute on function shipping.release to :"role";
drop policy if exists :"role" on shipping.steps;
create policy :"role" on shipping.steps to :"role" using (true)
    with check (step = 'fulfil_order' or state in ('pending', 'skipped', 'compensating'));
grant select on shipping.case_lines to :"role";
grant update (quantities) on shipping.shipments to :"role";
grant update (version, state, updated_at) on shipping.orders to :"role";
grant update (reserved, shipped) on shipping.order_lines to :"role";
grant select, insert, update on shipping.order_views to :"role";
-- It looks after the house: idempotency keys whose time is up.
grant select (caller, key, expires_at), delete on shipping.idempotency_keys to :"role";
