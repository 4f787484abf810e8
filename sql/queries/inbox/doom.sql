-- A claimed message is to die: whoever claims it from now on buries it and tries it no more. It is dead once its letter
-- is confirmed. No row: the claim was taken over.
-- $1 text  consumer   $2 text  message id   $3 uuid  claim token   $4 text  reason   $5 text  error, at most 4 KiB
update relay.inbox
set reason = $4, last_error = $5, first_failed_at = coalesce(first_failed_at, now())
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed'
returning first_failed_at
