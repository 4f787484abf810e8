-- Ends pauses, writes down who did it, an entry each, and tells the relays. The keys that waited are let go afterwards, by
-- held_keys/release_paused.sql: in batches, for there may be a million; by this statement they could not be, for it has one
-- snapshot, and a relay may be holding another key for a pause while this waits for it.
-- $1 bigint[]  pauses   $2 text  actor   $3 text  note   $4 text  channel to notify
with gone as (
    delete from relay.pauses p where p.pause_id = any ($1) returning *
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $2, 'resume', jsonb_strip_nulls(to_jsonb(g) - '{since,actor,note}'::text[]), 1, $3::text
    from gone g
)
select count(*) as affected, case when count(*) > 0 then pg_notify($4, 'lanes')::text end as notified
from gone
