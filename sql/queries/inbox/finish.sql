-- The message is done, its effect committed with this. Body and properties go: from here on the row only keeps
-- duplicates out. No row: the claim was taken over, and whatever else this transaction wrote must not stand.
-- $1 text  consumer   $2 text  message id   $3 uuid  claim token
update relay.inbox
set state = 'done', done_at = now(), due_at = null, claim_token = null, body = null, properties = null
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed'
returning message_id
