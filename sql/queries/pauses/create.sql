-- Pauses something, writes down who did it, and tells the relays. What is paused in the same words stays as it is; and every
-- relay has all pauses in memory, so past 1,000 there is none to be had.
-- $1 text  scope             $2 text  exchange      $3 text  routing key, or pattern
-- $4 text  aggregate type    $5 text  aggregate id  (each null where the scope has none)
-- $6 text  actor             $7 text  note          $8 text  channel to notify
-- Returns the pause that was made, or the one that stands already; neither if there are too many.
with made as (
    insert into relay.pauses (scope, exchange, routing_key, aggregate_type, aggregate_id, actor, note)
    select $1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text
    where (select count(*) from relay.pauses) < 1000
    on conflict do nothing
    returning *
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $6, 'pause', jsonb_strip_nulls(to_jsonb(m) - '{since,actor,note}'::text[]), 1, $7::text from made m
)
select m.pause_id as made,
       (select p.pause_id
        from relay.pauses p
        where p.scope = $1 and p.exchange is not distinct from $2 and p.routing_key is not distinct from $3
          and p.aggregate_type is not distinct from $4 and p.aggregate_id is not distinct from $5) as standing,
       case when m.pause_id is not null then pg_notify($8, 'lanes')::text end as notified
from (select) as one
left join made m on true
