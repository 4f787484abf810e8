-- Every column of one row, in the table's order, as name and JSON value: a column that a later migration adds is shown
-- without a change here.
-- $1 uuid  event id, or null   $2 bigint  seq, or null   $3 boolean  the payload too
select c.key, case when c.key = 'payload' and not $3 then null else c.value::text end as value
from relay.outbox o
cross join lateral json_each(row_to_json(o)) as c
where o.event_id = $1 or o.seq = $2
