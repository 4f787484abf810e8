-- Puts entries of a ledger into place of what they were seen as: a compare-and-set. Returns how many; fewer than asked for
-- means that somebody wrote in between, and the transaction is to be rolled back. Each entry at most once a statement.
-- $1 uuid     shipment
-- $2 text[]   steps           $3 text[]     subjects
-- $4 text[]   states seen     $5 integer[]  tasks seen
-- $6 text[]   states          $7 text[]     failures, or null   $8 boolean[]   asked          $9 integer[]  tasks
-- $10 boolean[]  undoing      $11 integer[] attempts            $12 integer[]  checks         $13 boolean[] stalled
-- $14 text[]  errors, or null to keep the last one
with moved as (
    update shipping.steps t
    set state = m.state, failure = m.failure, asked = m.asked, task = m.task, undoing = m.undoing,
        attempts = m.attempts, checks = m.checks, stalled = m.stalled,
        last_error = coalesce(m.error, t.last_error),
        started_at = case when m.state = 'running' then coalesce(t.started_at, now()) else t.started_at end,
        finished_at = case when m.state in ('succeeded', 'failed', 'compensated', 'skipped') then now() end,
        updated_at = now()
    from unnest($2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::boolean[], $9::integer[],
                $10::boolean[], $11::integer[], $12::integer[], $13::boolean[], $14::text[])
         as m (step, subject, seen_state, seen_task, state, failure, asked, task, undoing, attempts, checks, stalled, error)
    where t.shipment_id = $1 and t.step = m.step and t.subject = m.subject
      and t.state = m.seen_state and t.task = m.seen_task
    returning 1
)
select count(*) from moved
