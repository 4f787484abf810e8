-- Writes down an operator's act that is not itself one statement on the database.
-- $1 text  actor   $2 text  action   $3 text  filter, as JSON   $4 bigint  affected   $5 text  note
insert into relay.audit (actor, action, filter, affected, note) values ($1, $2, $3::text::jsonb, $4, $5)
