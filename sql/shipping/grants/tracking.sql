-- What the role of the worker that records tracking and applies the carrier's webhooks needs, and nothing more, beside relay's own
-- grants: to add events, and to consume. psql -v role=ROLE -f tracking.sql runs it; repeating it changes nothing.
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
    with check (step = 'record_tracking' or state in ('pending', 'skipped', 'compensating'));
grant update (tracking_code) on shipping.shipments to :"role";
grant update (tracking_status, tracking_rank, tracked_at, refund, refund_at) on shipping.cases to :"role";
grant select, update (applied_at, result) on shipping.carrier_events to :"role";
