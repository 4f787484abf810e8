-- When this server was started: another one was at another time.
select pg_postmaster_start_time() as started
