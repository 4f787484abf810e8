-- What the role of the API needs, and nothing more, beside relay's own
-- grants: to add events, and to consume. psql -v role=ROLE -f api.sql runs it; repeating it changes nothing.
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
    with check (state in ('pending', 'skipped', 'compensating'));
-- Accepting: the shipment with all that belongs to it, and what it reserves.
grant insert on shipping.shipments, shipping.cases, shipping.case_lines, shipping.steps to :"role";
grant select on shipping.case_lines, shipping.parties, shipping.webhook_endpoints, shipping.order_views to :"role";
grant select on shipping.invoices, shipping.credit_notes, shipping.notifications, shipping.deliveries to :"role";
-- Orders, too; but what is shipped of them it can't say.
grant insert, update (version, state, ship_to, updated_at) on shipping.orders to :"role";
grant insert (order_id, line_no, sku, ordered, unit_price_minor), update (ordered, reserved, sku, unit_price_minor)
    on shipping.order_lines to :"role";
grant insert, update, delete on shipping.parties to :"role";
grant insert, update (url, secret, previous_secret, previous_until, version, disabled_at, disabled_reason)
    on shipping.webhook_endpoints to :"role";
grant select, insert, update, delete on shipping.idempotency_keys to :"role";
-- The carrier's webhooks are stored here and applied by the tracking worker.
grant insert on shipping.carrier_events to :"role";
grant select (event_id) on shipping.carrier_events to :"role";
grant select, insert on shipping.acts to :"role";
