-- A doomed message is dead: its letter is confirmed. No row: the claim was taken over.
-- $1 text  consumer   $2 text  message id   $3 uuid  claim token
update relay.inbox
set state = 'dead', dead_at = now(), due_at = null, claim_token = null
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed' and reason is not null
returning message_id
