-- Every column of one message in a consumer's inbox, in the table's order, as name and JSON value.
-- $1 text  consumer   $2 text  message id   $3 boolean  the body too, as text as far as it is UTF-8
select c.key,
       case when c.key = 'body' and not $3 then null
            when c.key = 'body' then to_json(encode(i.body, 'escape'))::text
            else c.value::text end as value
from relay.inbox i
cross join lateral json_each(row_to_json(i)) as c
where i.consumer = $1 and i.message_id = $2
