-- Gives a dead row another payload, keeps the one its producer wrote, and writes down who did it. It stays dead: a replay
-- publishes it, under the same event id. The generation rises, so whoever looked at the row before acts on it no more.
-- $1 uuid     event id, or null   $2 bigint  seq, or null      $3 integer  its generation as seen; null: whatever it is
-- $4 text     payload             $5 text    actor             $6 text     note
-- Returns the row as it was, if there is one, and its generation now, if it was edited.
with edited as (
    update relay.outbox o
    set payload = $4::text::jsonb,
        original_payload = coalesce(o.original_payload, o.payload),
        generation = o.generation + 1
    where (o.event_id = $1 or o.seq = $2) and o.dead_at is not null and o.resolved_at is null
      and o.generation = coalesce($3, o.generation)
    returning o.seq, o.event_id, o.generation
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $5, 'edit',
           jsonb_build_object('event_ids', jsonb_build_array(e.event_id), 'seq', e.seq, 'generation', e.generation),
           1, $6::text
    from edited e
)
select o.seq, o.event_id, o.dead_at is not null as dead, o.resolved_at is not null as resolved,
       (select e.generation from edited e) as generation
from relay.outbox o
where o.event_id = $1 or o.seq = $2
