-- Every column of one row, in the table's order, as name and JSON value: a column that a later migration adds is shown
-- without a change here. And whether an operator has edited its payload. The state of what is dead or published, which the
-- column says nothing of, is that.
-- $1 uuid  event id, or null   $2 bigint  seq, or null   $3 boolean  the payload too, and the original one
select c.key,
       case when c.key = 'payload' and not $3 then null
            when c.key = 'state' and o.dead_at is not null then '"dead"'
            when c.key = 'state' and o.published_at is not null then '"published"'
            when c.key = 'original_payload' and (not $3 or o.original_payload is null) then null
            else c.value::text end as value
from relay.outbox o
cross join lateral (
    select j.key, j.value from json_each(row_to_json(o)) as j
    union all
    select 'edited', to_json(o.original_payload is not null)
) as c
where o.event_id = $1 or o.seq = $2
