-- Says that this relay lives, forgets those that have not said so for a day, and proves the way of notifications: the
-- relay that sends this expects to receive it. Returns the database's clock.
-- $1 uuid this relay   $2 text its name   $3 text its version   $4 text channel
with gone as (
    delete from relay.relays where seen_at < now() - interval '1 day'
), alive as (
    insert into relay.relays (relay_id, name, version) values ($1, $2, $3)
    on conflict (relay_id) do update set seen_at = now()
)
select clock_timestamp(), pg_notify($4, $1::text)
