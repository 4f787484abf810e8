-- Records confirms. A confirm is a fact, so it needs no lease; only the generation that was sent counts.
-- any (array[..]) is =, but nothing the planner could go through all of the primary key for: on a table that was empty when it
-- was last analyzed it would, for each mark, and until the next analyze.
-- $1 bigint[] seqs   $2 integer[] their generations
update relay.outbox o
set published_at = now()
from unnest($1::bigint[], $2::integer[]) as sent (seq, generation)
where o.seq = any (array[sent.seq]) and o.generation = sent.generation and o.published_at is null and o.dead_at is null
