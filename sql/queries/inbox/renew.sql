-- Prolongs a claim and locks its row to the end of the transaction: as long as this is open nobody takes the claim over.
-- No row: somebody has it already.
-- $1 text  consumer   $2 text  message id   $3 uuid  claim token   $4 bigint  claim, microseconds
update relay.inbox
set due_at = now() + $4::bigint * interval '1 microsecond'
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed'
returning message_id
