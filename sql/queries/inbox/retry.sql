-- A claimed message, to be tried again after a delay on the database's clock. No row: the claim was taken over.
-- $1 text     consumer             $2 text  message id      $3 uuid  claim token
-- $4 bigint   delay, microseconds  $5 text  what went wrong, at most 4 KiB
-- $6 boolean  whether the attempt counts: what was held back by an open circuit, or never begun, is not charged
update relay.inbox
set state = 'retrying',
    due_at = now() + $4::bigint * interval '1 microsecond',
    claim_token = null,
    attempts = attempts - case when $6 then 0 else 1 end,
    last_error = coalesce($5, last_error),
    first_failed_at = case when $5::text is null then first_failed_at else coalesce(first_failed_at, now()) end
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed'
returning message_id
