-- Says that this relay lives, forgets those that have not said so for a day, and proves the way of notifications: the
-- relay that sends this expects to receive it. One that begins to live tells the others, who have to share with it. (One that
-- goes on not living must not: those who hear it look at once, and without a broker none of them lives.)
-- Returns the database's clock.
-- $1 uuid this relay   $2 text its name   $3 text its version   $4 text channel   $5 bigint lives for, microseconds
with gone as (
    delete from relay.relays where seen_at < now() - interval '1 day'
), alive as (
    insert into relay.relays as r (relay_id, name, version, expires_at)
    values ($1, $2, $3, clock_timestamp() + $5::bigint * interval '1 microsecond')
    on conflict (relay_id) do update set seen_at = now(), expires_at = excluded.expires_at
)
select clock_timestamp(), pg_notify($4, $1::text),
       case when $5::bigint > 0
                 and not exists (select from relay.relays r where r.relay_id = $1 and r.expires_at >= clock_timestamp())
            then pg_notify($4, 'lanes') end
