-- What the role of the worker that buys and voids labels needs, and nothing more, beside relay's own
-- grants: to add events, and to consume. psql -v role=ROLE -f label.sql runs it; repeating it changes nothing.
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
    with check (step = 'buy_label' or state in ('pending', 'skipped', 'compensating'));
grant update (carrier_shipment_id, rate_id, carrier, service, tracking_code, label_url, cost_minor, cost_currency,
              bought_at, lost_at, refund, refund_at) on shipping.cases to :"role";
