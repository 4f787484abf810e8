-- What server this is, who asks, and what it does to sessions; one row.
-- free: connections that this role, this database and the server have left, whichever is fewest. Sessions of other roles are
-- counted, too: everybody sees their number.
-- idle_limit, transaction_limit: milliseconds after which the server ends a session for being idle, or a transaction for
-- lasting; 0 for never. As they are for this role in this database. synchronous: whether a commit survives a crash.
select current_setting('server_version') as version,
       current_setting('server_version_num')::integer / 10000 as major,
       pg_is_in_recovery() as replica,
       current_setting('default_transaction_read_only')::boolean as read_only,
       current_user::text as role,
       current_database()::text as database,
       least(
           current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
               - coalesce(current_setting('reserved_connections', true), '0')::bigint
               - (select count(*) from pg_stat_activity a where a.usesysid is not null and a.datid is not null),
           (select case when d.datconnlimit >= 0 then d.datconnlimit - (
                select count(*) from pg_stat_activity a where a.usesysid is not null and a.datid = d.oid) end
            from pg_database d where d.datname = current_database()),
           (select case when r.rolconnlimit >= 0 then r.rolconnlimit - (
                select count(*) from pg_stat_activity a where a.usesysid = r.oid) end
            from pg_roles r where r.rolname = current_user)
       ) as free,
       coalesce((select s.setting::bigint from pg_settings s where s.name = 'idle_session_timeout'), 0) as idle_limit,
       coalesce((select s.setting::bigint from pg_settings s where s.name = 'transaction_timeout'), 0) as transaction_limit,
       current_setting('synchronous_commit') <> 'off' as synchronous
