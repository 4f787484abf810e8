-- What is known of dead letters: one row.
-- $1 bigint  at most so many of the newest dead rows, and of the rows that wait, are looked at
-- A row is dead only when its letter was confirmed, and not returned. One whose letter was not says so in its error, and waits.
select (select max(d.dead_at) from (
            select o.dead_at from relay.outbox o
            where o.dead_at is not null and o.resolved_at is null order by o.seq desc limit $1) d) as confirmed,
       w.rows, w.error
from (select count(*) as rows, max(substring(o.last_error from 'its dead letter could not be published: (.*)$')) as error
      from (select o.last_error from relay.outbox o
            where o.state = 'waiting' and o.published_at is null and o.dead_at is null
            order by o.available_at limit $1) o
      where o.last_error like '% its dead letter could not be published: %') w
