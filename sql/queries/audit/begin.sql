-- Writes down an operator's act on the broker before it begins, so that none goes unrecorded, whatever happens. Returns
-- the entry.
-- $1 text  actor   $2 text  action   $3 text  filter, as JSON
insert into relay.audit (actor, action, filter, affected, note)
values ($1, $2, $3::text::jsonb, 0, 'begun')
returning audit_id
