-- Writes down what came of an act that was begun.
-- $1 bigint  entry   $2 bigint  affected   $3 text  note, or null
update relay.audit set affected = $2, note = $3 where audit_id = $1
