-- The dead letter of a doomed message was not confirmed: its burial is tried again after a delay. Charges nothing.
-- $1 text  consumer   $2 text  message id   $3 uuid  claim token   $4 bigint  delay, microseconds
update relay.inbox
set state = 'retrying', due_at = now() + $4::bigint * interval '1 microsecond', claim_token = null
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed' and reason is not null
returning message_id
