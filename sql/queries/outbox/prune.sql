-- Removes rows that were found prunable, but for those that somebody has locked: it waits for nobody. Nobody waits for it
-- either, for nothing asks for finished rows any more.
-- any (array[..]): see mark_published.sql.
-- $1 bigint[]  seqs   $2 bigint  as $4 of prunable.sql
-- What was published or discarded remains so; a dead row may have been replayed since it was seen, so it is judged again.
-- (A locked row is judged by its latest version.)
-- Returns how many went of those published, discarded, dead.
with free as (
    select o.seq
    from relay.outbox o
    where o.seq = any ($1::bigint[])
      and (o.published_at is not null or o.resolved_at is not null
           or (o.dead_at < 'epoch'::timestamptz + $2::bigint * interval '1 microsecond'
               and not exists (select from relay.held_keys k where k.head_seq = o.seq)))
    order by o.seq
    for update of o skip locked
), gone as (
    delete from relay.outbox o
    using free f
    where o.seq = any (array[f.seq])
    returning o.published_at is not null as published, o.resolved_at is not null as discarded
)
select count(*) filter (where g.published) as published,
       count(*) filter (where g.discarded) as discarded,
       count(*) filter (where not g.published and not g.discarded) as dead
from gone g
