-- Writes messages down as done, before their effects and in the same transaction. Returns those that are new: the others
-- are done already, or in the inbox with work to do. Two workers with the same message meet here: the second waits for
-- the end of the first one's transaction.
-- $1 text  consumer   $2 text[]  message ids
-- In order of the ids, so that two batches with messages in common wait for each other and never in a circle.
insert into relay.inbox (consumer, message_id)
select $1, m.id
from unnest($2::text[]) as m (id)
order by m.id
on conflict do nothing
returning message_id
