-- What the role of the worker that tells parties needs, and nothing more, beside relay's own
-- grants: to add events, and to consume. psql -v role=ROLE -f notify.sql runs it; repeating it changes nothing.
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
    with check (step = 'notify' or state in ('pending', 'skipped', 'compensating'));
grant select on shipping.parties, shipping.webhook_endpoints to :"role";
-- An endpoint that answers 410 is not asked again.
grant update (disabled_at, disabled_reason, version) on shipping.webhook_endpoints to :"role";
grant select, insert, update (state, last_error, finished_at) on shipping.notifications to :"role";
-- The endpoint, too: the party may have another one at the next attempt.
grant select, insert, update (endpoint_id, state, attempts, next_attempt_at, last_status, last_error, finished_at)
    on shipping.deliveries to :"role";
