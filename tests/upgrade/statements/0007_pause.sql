-- file: grants/consume.sql
-- What a consumer's role needs of relay's schema, and nothing more; its own tables are its own affair, and what it may
-- add to the outbox is enqueue.sql's. It sees every consumer's inbox in this schema, not only its own.
-- `relay migrate --grant-consume-to ROLE` runs this; so does psql -v schema=relay -v role=ROLE -f consume.sql.
-- Repeating it changes nothing.
grant usage on schema :"schema" to :"role";
grant select, insert on :"schema".inbox to :"role";
-- The message itself stays as it came, until it is done. Who may replay and discard, operators say.
grant update (state, attempts, due_at, claim_token, done_at, properties, body, last_error, first_failed_at, reason,
              dead_at) on :"schema".inbox to :"role";
-- For pruning.
grant delete on :"schema".inbox to :"role";
grant select, insert, update on :"schema".consumers to :"role";
-- file: grants/enqueue.sql
-- What a producer's role needs: to add rows, by relay.enqueue or a plain INSERT, and to learn the id of its own.
-- `relay migrate --grant-enqueue-to ROLE` runs this; so does psql -v schema=relay -v role=ROLE -f enqueue.sql.
-- Repeating it changes nothing.
grant usage on schema :"schema" to :"role";
-- The protocol's columns have defaults, and nobody but relay gives them other values.
grant insert (event_id, aggregate_type, aggregate_id, event_type, payload, headers, exchange, routing_key,
              available_at) on :"schema".outbox to :"role";
-- For INSERT .. RETURNING event_id.
grant select (event_id) on :"schema".outbox to :"role";
grant execute on function :"schema".uuid_v7 to :"role";
grant execute on function :"schema".enqueue to :"role";
-- The wake-up trigger runs as the producer.
grant execute on function :"schema".wake to :"role";
-- file: grants/operate.sql
-- What whoever does what operators do needs, and nothing more: for the operators' page (database.operator_url) and for people
-- with the command line. It sees every row and who did what; it can neither add a row nor remove one, and publishes nothing.
-- `relay migrate --grant-operate-to ROLE` runs this; so does psql -v schema=relay -v role=ROLE -f operate.sql.
-- Repeating it changes nothing.
grant usage on schema :"schema" to :"role";
grant select on :"schema".migrations to :"role";
grant select on :"schema".lanes to :"role";
grant select on :"schema".relays to :"role";
grant select on :"schema".consumers to :"role";
-- Replaying, discarding, skipping; and mending a dead row's payload, of which the producer's own is kept.
grant select, update (dead_at, dead_reason, state, available_at, attempts, generation, replays, resolved_at, payload,
              original_payload)
    on :"schema".outbox to :"role";
grant select, update (reason, due_at, paused_by) on :"schema".held_keys to :"role";
grant select, update (state, due_at, dead_at, reason, attempts, replays, resolved_at) on :"schema".inbox to :"role";
-- Pausing and resuming.
grant select, insert, delete on :"schema".pauses to :"role";
-- What they did. An entry, once written, keeps who it was and what.
grant select, insert (actor, action, filter, affected, note), update (affected, note) on :"schema".audit to :"role";
-- file: grants/prune.sql
-- What removing old rows needs, and nothing more: for a role of `relay prune`, or for the one of `relay run` in addition to
-- run.sql. It sees when rows were finished, never what is in them.
-- `relay migrate --grant-prune-to ROLE` runs this; so does psql -v schema=relay -v role=ROLE -f prune.sql.
-- Repeating it changes nothing.
grant usage on schema :"schema" to :"role";
grant select (seq, created_at, published_at, dead_at, resolved_at) on :"schema".outbox to :"role";
grant delete on :"schema".outbox to :"role";
-- Rows are locked first, which needs leave to change something. The lane is generated: it can't be changed.
grant update (lane) on :"schema".outbox to :"role";
grant select (head_seq) on :"schema".held_keys to :"role";
-- What it did.
grant select (audit_id), insert (actor, action, filter, affected, note), update (affected, note)
    on :"schema".audit to :"role";
-- file: grants/run.sql
-- What the role of `relay run` needs, and nothing more: it can't change what was to be published, nor learn
-- who did what. `relay migrate --grant-run-to ROLE` runs this; so does psql -v schema=relay -v role=ROLE -f run.sql.
-- Repeating it changes nothing.
grant usage on schema :"schema" to :"role";
grant select on :"schema".migrations to :"role";
grant select on :"schema".outbox to :"role";
-- The protocol's columns. Payload, headers, keys and ids stay as the producer wrote them.
grant update (published_at, dead_at, dead_reason, state, attempts, available_at, first_failed_at, last_error,
              suspect)
    on :"schema".outbox to :"role";
grant select on sequence :"schema".outbox_seq_seq to :"role";
grant select, insert, update, delete on :"schema".held_keys to :"role";
-- To lock a pause against being ended meanwhile; a generated id can't be changed to anything chosen.
grant select, update (pause_id) on :"schema".pauses to :"role";
grant select, update (owner, token, expires_at) on :"schema".lanes to :"role";
grant select, insert, update, delete on :"schema".relays to :"role";
-- For the metric of replayed and discarded rows.
grant select (action, affected) on :"schema".audit to :"role";
grant execute on function :"schema".wake_class to :"role";
grant execute on function :"schema".close_released to :"role";
-- file: queries/activity/hold_cleanup.sql
-- What keeps vacuum from removing the old versions of rows, the oldest first and alone; no row if nothing does.
-- A session does by the transaction id it writes under or by its snapshot, a transaction prepared for two-phase commit by its
-- id, a standby by the snapshot of its queries, directly or kept in its replication slot. A logical slot holds back only the
-- catalogs, so it does not count; nor does a session of another database, nor vacuum itself.
-- seconds: since a session began what holds: its statement, if it only reads and is at it, else its transaction. Null where
-- that can't be known: of slots, and of other roles' sessions without pg_read_all_stats; of these the state is null, too.
-- transactions: how many have begun since. held: where cleanup stands, which changes with every new snapshot.
-- Of several that hold the same, the one that writes under it is the cause of the others.
with holders as (
    select 'session' as by, a.pid, a.application_name as name, a.state,
           case when a.backend_xid is null and a.state = 'active' then a.query_start else a.xact_start end as since,
           case when a.backend_xmin is null or age(a.backend_xid) >= age(a.backend_xmin)
                then a.backend_xid else a.backend_xmin end as held,
           a.backend_xid as own
    from pg_stat_activity a
    where a.pid <> pg_backend_pid() and a.usesysid is not null
      and (a.datid is null or a.datid = (select d.oid from pg_database d where d.datname = current_database()))
      and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid)
    union all
    select 'prepared', null, p.gid, null, p.prepared, p.transaction, p.transaction
    from pg_prepared_xacts p
    where p.database = current_database()
    union all
    select 'slot', s.active_pid, s.slot_name, case when s.active then 'active' else 'inactive' end, null, s.xmin, null
    from pg_replication_slots s
)
select h.by, h.pid, nullif(h.name, '') as name, h.state,
       case when h.since is not null
            then greatest(0, extract(epoch from clock_timestamp() - h.since)) end::double precision as seconds,
       age(h.held)::bigint as transactions, h.held::text as held
from holders h
where h.held is not null
order by age(h.held) desc, (h.own is not null and h.own = h.held) desc, h.since, h.pid
limit 1
-- file: queries/activity/hold_tables.sql
-- Who has had a transaction open for longest of those that hold locks on a schema's tables; no row if nobody does. Of other
-- roles' sessions Postgres keeps name and age to itself.
-- vacuum: whether anybody holds the lock of a vacuum, which only a change of the table waits for.
-- $1 text schema
select l.pid, coalesce(nullif(a.application_name, ''), p.gid) as name,
       extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::double precision as seconds,
       bool_or(l.mode = 'ShareUpdateExclusiveLock') over () as vacuum
from pg_catalog.pg_locks l
join pg_catalog.pg_class c on c.oid = l.relation and c.relnamespace = to_regnamespace(quote_ident($1::text))
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
left join pg_catalog.pg_prepared_xacts p on l.virtualtransaction = '-1/' || p.transaction::text
where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
order by coalesce(a.xact_start, p.prepared) nulls last, l.pid
limit 1
-- file: queries/audit/begin.sql
-- Writes down an operator's act on the broker before it begins, so that none goes unrecorded, whatever happens. Returns
-- the entry.
-- $1 text  actor   $2 text  action   $3 text  filter, as JSON
insert into relay.audit (actor, action, filter, affected, note)
values ($1, $2, $3::text::jsonb, 0, 'begun')
returning audit_id
-- file: queries/audit/finish.sql
-- Writes down what came of an act that was begun.
-- $1 bigint  entry   $2 bigint  affected   $3 text  note, or null
update relay.audit set affected = $2, note = $3 where audit_id = $1
-- file: queries/audit/list.sql
-- What operators did, the latest first. A parameter that is null selects everything.
-- $1 bigint  at or after, microseconds since 1970   $2 text  actor   $3 text  action   $4 bigint  at most so many
-- $5 bigint  before this entry
select a.audit_id, a.at, a.actor, a.action, a.filter::text as filter, a.affected, a.note
from relay.audit a
where ($1::bigint is null or a.at >= 'epoch'::timestamptz + $1 * interval '1 microsecond')
  and ($2::text is null or a.actor = $2)
  and ($3::text is null or a.action = $3)
  and ($5::bigint is null or a.audit_id < $5)
order by a.audit_id desc
limit $4
-- file: queries/audit/totals.sql
-- How many dead rows operators have replayed and discarded so far, whichever process they used.
select coalesce(sum(a.affected) filter (where a.action = 'replay'), 0)::bigint as replayed,
       coalesce(sum(a.affected) filter (where a.action = 'discard'), 0)::bigint as discarded
from relay.audit a
-- file: queries/catalog/lacking_rights.sql
-- Which of these rights this role lacks. What does not exist is not asked after: that is another finding.
-- $1 text    the schema's name
-- $2 text[]  kinds: schema, table, sequence, function      $3 text[]  the object's name; of the schema itself empty
-- $4 text[]  a column's name, or empty                     $5 text[]  privileges
select n.kind, n.object, n.attribute, n.privilege
from unnest($2::text[], $3::text[], $4::text[], $5::text[]) as n (kind, object, attribute, privilege)
where case n.kind
    when 'schema' then
        (select has_schema_privilege(s.oid, n.privilege) from pg_catalog.pg_namespace s where s.nspname = $1)
    when 'function' then
        (select bool_and(has_function_privilege(p.oid, n.privilege))
         from pg_catalog.pg_proc p join pg_catalog.pg_namespace s on s.oid = p.pronamespace
         where s.nspname = $1 and p.proname = n.object)
    when 'sequence' then
        (select has_sequence_privilege(c.oid, n.privilege)
         from pg_catalog.pg_class c join pg_catalog.pg_namespace s on s.oid = c.relnamespace
         where s.nspname = $1 and c.relname = n.object and c.relkind = 'S')
    else
        (select case when n.attribute = '' then has_table_privilege(c.oid, n.privilege)
                     else (select has_column_privilege(c.oid, a.attnum, n.privilege)
                           from pg_catalog.pg_attribute a
                           where a.attrelid = c.oid and a.attname = n.attribute and not a.attisdropped) end
         from pg_catalog.pg_class c join pg_catalog.pg_namespace s on s.oid = c.relnamespace
         where s.nspname = $1 and c.relname = n.object and c.relkind in ('r', 'p'))
    end is false
-- file: queries/catalog/parts.sql
-- Everything a schema has of what migrations make: tables and their columns, indexes, triggers, functions.
-- $1 text  the schema's name
-- kind, the table it belongs to (null of a function), its name, and whether it works: an index whose building failed is
-- not used, a trigger that was disabled, or left to replication, does not fire.
-- Read from the catalogs, which everybody may, so that it answers to a role without any rights as well.
with tables as (
    select c.oid, c.relname
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relkind in ('r', 'p')
)
select 'table' as kind, t.relname::text as of, t.relname::text as name, true as works from tables t
union all
select 'column', t.relname, a.attname, true
from tables t join pg_catalog.pg_attribute a on a.attrelid = t.oid
where a.attnum > 0 and not a.attisdropped
union all
select 'index', t.relname, c.relname, i.indisvalid and i.indisready
from tables t join pg_catalog.pg_index i on i.indrelid = t.oid join pg_catalog.pg_class c on c.oid = i.indexrelid
union all
select 'trigger', t.relname, g.tgname, g.tgenabled in ('O', 'A')
from tables t join pg_catalog.pg_trigger g on g.tgrelid = t.oid
where not g.tgisinternal
union all
select distinct 'function', null, p.proname, true
from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname = $1
order by 1, 2, 3
-- file: queries/catalog/server.sql
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
-- file: queries/catalog/vacuum.sql
-- Whether vacuum comes by itself: on this server, and to the outbox; no row if there is no such table.
-- $1 text  the schema's name
select current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean as server,
       coalesce((select o.option_value::boolean from pg_options_to_table(c.reloptions) o
                 where o.option_name = 'autovacuum_enabled'), true) as outbox
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = 'outbox'
-- file: queries/consumers/register.sql
-- Says that this consumer lives, and how long it remembers what it has done.
-- $1 text  consumer   $2 bigint  horizon, microseconds
insert into relay.consumers (consumer, horizon) values ($1, $2::bigint * interval '1 microsecond')
on conflict (consumer) do update set horizon = excluded.horizon, seen_at = now()
-- file: queries/held_keys/any.sql
-- Whether any key of these lanes is held, and whether any is being released.
-- $1 integer  lanes owned, as a bit mask
select exists (select from relay.held_keys k where (1 << k.lane) & $1 <> 0) as held,
       exists (select from relay.held_keys k where k.reason = 'releasing' and (1 << k.lane) & $1 <> 0) as releasing
-- file: queries/held_keys/close_released.sql
-- Forgets keys whose held rows are all done. See the function, in the migrations, for why it is one.
-- $1 integer  lanes owned, as a bit mask
select relay.close_released($1)
-- file: queries/held_keys/first.sql
-- The keys that wait longest, with their head: what it waits for, and why.
-- $1 bigint  at most so many
select k.aggregate_type, k.aggregate_id, k.head_seq,
       case when k.reason = 'parked' and k.paused_by is not null then 'paused' else k.reason end as reason,
       extract(epoch from k.due_at - clock_timestamp())::double precision as due_in,
       extract(epoch from clock_timestamp() - k.since)::double precision as held_for,
       o.last_error, case when k.reason = 'parked' then k.paused_by end as paused_by
from relay.held_keys k
left join relay.outbox o on o.seq = k.head_seq
order by k.since, k.aggregate_type, k.aggregate_id
limit $1
-- file: queries/held_keys/release_parked.sql
-- Lets a parked key go on without its head, and writes down who did it. The head stays dead: replayed later, it comes after
-- those that went before it.
-- $1 text  aggregate type   $2 text  aggregate id   $3 bigint  the head as seen
-- $4 text  actor            $5 text  note           $6 text    channel to notify
with released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null
    where k.aggregate_type = $1 and k.aggregate_id = $2 and k.head_seq = $3 and k.reason = 'parked'
      and k.paused_by is null
    returning k.head_seq
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $4, 'release',
           jsonb_build_object('aggregate_type', $1::text, 'aggregate_id', $2::text, 'seq', r.head_seq), 1, $5::text
    from released r
)
select count(*) as affected, case when count(*) > 0 then pg_notify($6, '')::text end as notified
from released
-- file: queries/held_keys/release_paused.sql
-- Lets keys go whose pause is over, of one pause at a time. Run after a pause has been ended, and by relays now and then,
-- for whoever ended it may have been cut off, or have used SQL.
-- $1 bigint  at most so many keys   $2 text  channel to notify
-- The pauses that keys wait for are found by stepping through the index, for a million keys may wait for the same one.
-- What a key that is not parked has of a pause is a leftover of a relay older than pauses: it is cleared away.
-- Locks keys in the order in which everybody does.
with recursive waited_for as (
    select min(k.paused_by) as pause_id from relay.held_keys k where k.paused_by is not null
    union all
    select (select min(k.paused_by) from relay.held_keys k where k.paused_by > w.pause_id)
    from waited_for w
    where w.pause_id is not null
), chosen as (
    select k.aggregate_type, k.aggregate_id
    from relay.held_keys k
    where k.paused_by = (select min(w.pause_id) from waited_for w
                         where not exists (select from relay.pauses p where p.pause_id = w.pause_id))
    order by k.aggregate_type, k.aggregate_id
    limit $1
    for update of k
), released as (
    update relay.held_keys k
    set reason = case when k.reason = 'parked' then 'releasing' else k.reason end, paused_by = null
    from chosen c
    where k.aggregate_type = c.aggregate_type and k.aggregate_id = c.aggregate_id
    returning 1
)
select count(*) as released, case when count(*) > 0 then pg_notify($2, '')::text end as notified
from released
-- file: queries/held_keys/repair.sql
-- Lets keys go whose head was settled by somebody who did not know that it was a head: a relay that lost its lanes
-- while its confirm was on the way. Rare, so it runs once a minute, and only looks at keys long overdue.
update relay.held_keys k
set reason = 'releasing', due_at = null, paused_by = null
where k.reason = 'retrying' and k.due_at < now() - interval '30 seconds'
  and not exists (select from relay.outbox o
                  where o.seq = k.head_seq and o.published_at is null and o.dead_at is null)
-- file: queries/held_keys/show.sql
-- One held key: its head, why it waits, and what waits behind it, counted to 10,000. The first columns are those of first.sql.
-- $1 text  aggregate type   $2 text  aggregate id
select k.aggregate_type, k.aggregate_id, k.head_seq,
       case when k.reason = 'parked' and k.paused_by is not null then 'paused' else k.reason end as reason,
       extract(epoch from k.due_at - clock_timestamp())::double precision as due_in,
       extract(epoch from clock_timestamp() - k.since)::double precision as held_for,
       o.last_error, case when k.reason = 'parked' then k.paused_by end as paused_by,
       o.event_id, o.event_type, o.attempts,
       (select count(*) from (
           select from relay.outbox h
           where h.aggregate_type = k.aggregate_type and h.aggregate_id = k.aggregate_id
             and h.state = 'held' and h.published_at is null and h.dead_at is null and h.seq <> k.head_seq
           limit 10000) b) as behind
from relay.held_keys k
left join relay.outbox o on o.seq = k.head_seq
where k.aggregate_type = $1 and k.aggregate_id = $2
-- file: queries/held_keys/skip.sql
-- Gives the head of a retrying key up, lets the key go on without it, and writes down who did it. The row is dead, and dealt
-- with: no letter of it is published. Its generation rises, so that a relay that has it in hand changes nothing of it.
-- $1 text  aggregate type   $2 text  aggregate id   $3 bigint  the head as seen
-- $4 text  dead reason      $5 text  actor          $6 text    note              $7 text  channel to notify
-- Locks the row, then the key, as relay's own writes do.
with head as (
    select o.seq
    from relay.held_keys k
    join relay.outbox o on o.seq = k.head_seq
    where k.aggregate_type = $1 and k.aggregate_id = $2 and k.head_seq = $3 and k.reason = 'retrying'
      and o.published_at is null and o.dead_at is null
    for update of o
), skipped as (
    update relay.outbox o
    set dead_at = now(), resolved_at = now(), dead_reason = $4, generation = o.generation + 1
    from head h
    where o.seq = h.seq
    returning o.seq, o.event_id
), released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null, paused_by = null
    from skipped s
    where k.aggregate_type = $1 and k.aggregate_id = $2 and k.head_seq = s.seq and k.reason = 'retrying'
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $5, 'skip',
           jsonb_build_object('aggregate_type', $1::text, 'aggregate_id', $2::text, 'seq', s.seq,
                              'event_ids', jsonb_build_array(s.event_id)),
           1, $6::text
    from skipped s
)
select count(*) as affected, case when count(*) > 0 then pg_notify($7, '')::text end as notified
from skipped
-- file: queries/inbox/accept.sql
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
-- file: queries/inbox/behind.sql
-- Whether any of these messages has an unfinished one of its key before it.
-- $1 text  consumer   $2 text[]  aggregate types   $3 text[]  aggregate ids   $4 bigint[]  seqs
select exists (
    select
    from unnest($2::text[], $3::text[], $4::bigint[]) as m (aggregate_type, aggregate_id, seq)
    join relay.inbox i
      on i.consumer = $1 and i.aggregate_type = m.aggregate_type and i.aggregate_id = m.aggregate_id and i.seq < m.seq
     and i.state in ('claimed', 'retrying', 'held')
) as behind
-- file: queries/inbox/claim.sql
-- Claims what is due: retries whose time has come, and claims that have run out because their worker is gone. A retry's
-- attempt is counted here, committed before the work starts. An attempt whose claim ran out was counted when it was claimed;
-- it is claimed so that it can be written down as the failure it is. What has had all its attempts, or is to die anyway, is
-- claimed for its burial; then no attempt is counted.
-- $1 text    consumer          $2 bigint  claim, microseconds   $3 bigint  at most so many rows
-- $4 integer attempts allowed  $5 text    the reason of those that have had them all
with due as (
    select i.message_id, i.state = 'claimed' as ran_out
    from relay.inbox i
    where i.consumer = $1 and i.state in ('claimed', 'retrying') and i.due_at <= now()
    order by i.due_at
    limit $3
    for update skip locked
)
update relay.inbox i
set state = 'claimed',
    claim_token = gen_random_uuid(),
    due_at = now() + $2::bigint * interval '1 microsecond',
    attempts = i.attempts + case when not due.ran_out and i.reason is null and i.attempts < $4 then 1 else 0 end,
    reason = case when i.reason is null and i.attempts >= $4 then $5 else i.reason end,
    first_failed_at = case when due.ran_out then coalesce(i.first_failed_at, now()) else i.first_failed_at end,
    last_error = case when due.ran_out and i.reason is null
                      then 'the worker ended, or took longer than its claim, without a result' else i.last_error end
from due
where i.consumer = $1 and i.message_id = due.message_id
returning i.message_id, i.claim_token, i.attempts, i.event_type, i.aggregate_type, i.aggregate_id, i.seq,
          i.properties::text as properties, i.body, i.last_error, i.first_failed_at, i.replays, i.reason,
          due.ran_out and i.reason is null as ran_out
-- file: queries/inbox/discard.sql
-- Declares dead messages dealt with, once each, and writes down who did it. They stay dead, and keep duplicates out.
-- Parameters and guard as in replay:
-- $1 text  consumer   $2 text[]  message ids   $3 bigint[]  their dead_at, microseconds since 1970
-- $4 text  actor      $5 text    the filter, as JSON        $6 text  note
with chosen as (
    select i.message_id
    from relay.inbox i
    join unnest($2::text[], $3::bigint[]) as seen (message_id, dead_us)
      on seen.message_id = i.message_id and i.dead_at = 'epoch'::timestamptz + seen.dead_us * interval '1 microsecond'
    where i.consumer = $1 and i.state = 'dead' and i.resolved_at is null
    order by i.message_id
    for update of i
), discarded as (
    update relay.inbox i set resolved_at = now() from chosen c
    where i.consumer = $1 and i.message_id = c.message_id
    returning 1
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $4, 'discard_inbox', $5::text::jsonb, count(*), $6::text from discarded having count(*) > 0
)
select count(*) as affected from discarded
-- file: queries/inbox/doom.sql
-- A claimed message is to die: whoever claims it from now on buries it and tries it no more. It is dead once its letter
-- is confirmed. No row: the claim was taken over.
-- $1 text  consumer   $2 text  message id   $3 uuid  claim token   $4 text  reason   $5 text  error, at most 4 KiB
update relay.inbox
set reason = $4, last_error = $5, first_failed_at = coalesce(first_failed_at, now())
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed'
returning first_failed_at
-- file: queries/inbox/finish.sql
-- The message is done, its effect committed with this. Body and properties go: from here on the row only keeps
-- duplicates out. No row: the claim was taken over, and whatever else this transaction wrote must not stand.
-- $1 text  consumer   $2 text  message id   $3 uuid  claim token
update relay.inbox
set state = 'done', done_at = now(), due_at = null, claim_token = null, body = null, properties = null
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed'
returning message_id
-- file: queries/inbox/list_dead.sql
-- A consumer's dead messages that nobody has dealt with, the longest dead first. A parameter that is null selects
-- everything.
-- $1 text    consumer          $2 text[]  message ids        $3 text    event type   $4 text    aggregate type
-- $5 text    aggregate id      $6 text    reason             $7 bigint  died at or after, microseconds since 1970
-- $8 bigint  died before       $9 bigint  after this time of death ...               $10 text   ... and message id
-- $11 bigint at most so many
select i.message_id, i.event_type, i.aggregate_type, i.aggregate_id, i.seq, i.reason, i.attempts, i.replays,
       i.received_at, i.dead_at, i.last_error,
       coalesce(i.received_at < now() - (select c.horizon from relay.consumers c where c.consumer = $1), false) as beyond
from relay.inbox i
where i.consumer = $1 and i.state = 'dead' and i.resolved_at is null
  and ($2::text[] is null or i.message_id = any ($2))
  and ($3::text is null or i.event_type = $3)
  and ($4::text is null or i.aggregate_type = $4)
  and ($5::text is null or i.aggregate_id = $5)
  and ($6::text is null or i.reason = $6)
  and ($7::bigint is null or i.dead_at >= 'epoch'::timestamptz + $7 * interval '1 microsecond')
  and ($8::bigint is null or i.dead_at < 'epoch'::timestamptz + $8 * interval '1 microsecond')
  and (i.dead_at, i.message_id) > ('epoch'::timestamptz + $9::bigint * interval '1 microsecond', $10::text)
order by i.dead_at, i.message_id
limit $11
-- file: queries/inbox/lock_keys.sql
-- One at a time for a key, where order is asked for: whoever finishes a message of it, and whoever looks whether there is
-- an unfinished one. Without, a message could be held at the very moment at which nobody is left to release it.
-- $1 text  consumer   $2 text[]  aggregate types   $3 text[]  aggregate ids
-- Locks of the transaction, taken in one order by everybody; keys that share a hash merely wait for each other.
select count(pg_advisory_xact_lock(h.hash)) as locked
from (
    select distinct hashtextextended($1 || chr(31) || k.aggregate_type || chr(31) || k.aggregate_id, 1) as hash
    from unnest($2::text[], $3::text[]) as k (aggregate_type, aggregate_id)
    order by hash
) h
-- file: queries/inbox/mark_dead.sql
-- A doomed message is dead: its letter is confirmed. No row: the claim was taken over.
-- $1 text  consumer   $2 text  message id   $3 uuid  claim token
update relay.inbox
set state = 'dead', dead_at = now(), due_at = null, claim_token = null
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed' and reason is not null
returning message_id
-- file: queries/inbox/next_due.sql
-- How long until something is due, in microseconds; no row when nothing waits. A day at most.
-- $1 text  consumer
select (greatest(extract(epoch from least(i.due_at, clock_timestamp() + interval '1 day') - clock_timestamp()), 0)
        * 1000000)::bigint as after_us
from relay.inbox i
where i.consumer = $1 and i.state in ('claimed', 'retrying')
order by i.due_at
limit 1
-- file: queries/inbox/postpone_burial.sql
-- The dead letter of a doomed message was not confirmed: its burial is tried again after a delay. Charges nothing.
-- $1 text  consumer   $2 text  message id   $3 uuid  claim token   $4 bigint  delay, microseconds
update relay.inbox
set state = 'retrying', due_at = now() + $4::bigint * interval '1 microsecond', claim_token = null
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed' and reason is not null
returning message_id
-- file: queries/inbox/prune.sql
-- Forgets messages that were done before the horizon, a few at a time. What is dead or unfinished is never forgotten.
-- $1 text  consumer   $2 bigint  horizon, microseconds   $3 bigint  at most so many rows
delete from relay.inbox
where ctid = any (array(
    select i.ctid
    from relay.inbox i
    where i.consumer = $1 and i.state = 'done' and i.done_at < now() - $2::bigint * interval '1 microsecond'
    limit $3
    for update skip locked
))
-- file: queries/inbox/receive.sql
-- Takes a message into the inbox: claimed, its first attempt counted; or held, if its key has an unfinished message
-- before it and order is asked for. Nothing is returned if the inbox has it already.
-- $1 text    consumer     $2 text    message id   $3 uuid    claim token      $4 bigint  claim, microseconds
-- $5 text    event type   $6 text    aggregate type          $7 text    aggregate id
-- $8 bigint  seq, or null $9 text    properties, as JSON     $10 bytea  body  $11 boolean  whether order is asked for
insert into relay.inbox (consumer, message_id, state, attempts, due_at, claim_token, done_at,
                         event_type, aggregate_type, aggregate_id, seq, properties, body)
select $1, $2,
       case when k.behind then 'held' else 'claimed' end,
       case when k.behind then 0 else 1 end,
       case when not k.behind then now() + $4::bigint * interval '1 microsecond' end,
       case when not k.behind then $3::uuid end,
       null, $5, $6, $7, $8::bigint, $9::text::json, $10
from (
    select $11::boolean and exists (
        select from relay.inbox i
        where i.consumer = $1 and i.aggregate_type = $6 and i.aggregate_id = $7 and i.seq < $8::bigint
          and i.state in ('claimed', 'retrying', 'held')) as behind
) k
on conflict do nothing
returning state
-- file: queries/inbox/release_next.sql
-- The next held message of a key, which is due now that the one before it is done or dead. Under the key's lock.
-- $1 text  consumer   $2 text  aggregate type   $3 text  aggregate id
update relay.inbox i
set state = 'retrying', due_at = now()
from (
    select h.message_id
    from relay.inbox h
    where h.consumer = $1 and h.aggregate_type = $2 and h.aggregate_id = $3
      and h.state in ('claimed', 'retrying', 'held')
    order by h.seq
    limit 1
) next
where i.consumer = $1 and i.message_id = next.message_id and i.state = 'held'
-- file: queries/inbox/renew.sql
-- Prolongs a claim and locks its row to the end of the transaction: as long as this is open nobody takes the claim over.
-- No row: somebody has it already.
-- $1 text  consumer   $2 text  message id   $3 uuid  claim token   $4 bigint  claim, microseconds
update relay.inbox
set due_at = now() + $4::bigint * interval '1 microsecond'
where consumer = $1 and message_id = $2 and claim_token = $3 and state = 'claimed'
returning message_id
-- file: queries/inbox/replay.sql
-- Makes dead messages due again, once each, and writes down who did it. Guarded by the time of death that was seen: what
-- somebody else replayed or discarded meanwhile, or what has died anew, is left alone.
-- $1 text  consumer   $2 text[]  message ids   $3 bigint[]  their dead_at, microseconds since 1970
-- $4 text  actor      $5 text    the filter, as JSON        $6 text  note
with chosen as (
    select i.message_id
    from relay.inbox i
    join unnest($2::text[], $3::bigint[]) as seen (message_id, dead_us)
      on seen.message_id = i.message_id and i.dead_at = 'epoch'::timestamptz + seen.dead_us * interval '1 microsecond'
    where i.consumer = $1 and i.state = 'dead' and i.resolved_at is null
    order by i.message_id
    for update of i
), replayed as (
    update relay.inbox i
    set state = 'retrying', due_at = now(), dead_at = null, reason = null, attempts = 0, replays = i.replays + 1
    from chosen c
    where i.consumer = $1 and i.message_id = c.message_id
    returning 1
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $4, 'replay_inbox', $5::text::jsonb, count(*), $6::text from replayed having count(*) > 0
)
select count(*) as affected from replayed
-- file: queries/inbox/retry.sql
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
-- file: queries/inbox/settled_letters.sql
-- Of a consumer's dead letters, those whose message has moved on since: replayed, done or discarded. A letter that came
-- before its message was marked dead is not settled.
-- $1 text[]  consumers   $2 text[]  message ids   $3 integer[]  their x-relay-replays
-- Returns the place of each settled letter in the arrays, from 1.
select letter.place
from unnest($1::text[], $2::text[], $3::integer[]) with ordinality as letter (consumer, message_id, replays, place)
join relay.inbox i on i.consumer = letter.consumer and i.message_id = letter.message_id
where i.replays > letter.replays or i.state = 'done' or i.resolved_at is not null
-- file: queries/inbox/show.sql
-- Every column of one message in a consumer's inbox, in the table's order, as name and JSON value.
-- $1 text  consumer   $2 text  message id   $3 boolean  the body too, as text as far as it is UTF-8
select c.key,
       case when c.key = 'body' and not $3 then null
            when c.key = 'body' then to_json(encode(i.body, 'escape'))::text
            else c.value::text end as value
from relay.inbox i
cross join lateral json_each(row_to_json(i)) as c
where i.consumer = $1 and i.message_id = $2
-- file: queries/lanes/acquire.sql
-- Takes those of these lanes that nobody holds any more, under a new fencing token; by the database's clock alone.
-- $1 uuid this relay   $2 bigint lease, microseconds   $3 smallint[] lanes
update relay.lanes l
set owner = $1, token = l.token + 1, expires_at = clock_timestamp() + $2::bigint * interval '1 microsecond'
where l.lane in (select f.lane from relay.lanes f
                 where f.lane = any ($3) and f.expires_at < clock_timestamp()
                 order by f.lane
                 -- Waiting, not skipping: whoever comes second sees what the first one took.
                 for update)
returning l.lane, l.token
-- file: queries/lanes/list.sql
-- Every lane, and who holds it for how long yet. An expired lease is nobody's, whatever its owner still says.
select l.lane, case when l.expires_at >= clock_timestamp() then l.owner end as owner,
       case when l.expires_at >= clock_timestamp()
            then extract(epoch from l.expires_at - clock_timestamp())::double precision end as lease_left
from relay.lanes l
order by l.lane
-- file: queries/lanes/release.sql
-- Gives lanes back, so that a successor takes them at once, and tells it. (An empty notification means rows, which
-- concern the owner alone.)
-- $1 uuid this relay   $2 smallint[] lanes   $3 bigint[] their tokens   $4 text channel to notify
with released as (
    update relay.lanes l
    set owner = null, expires_at = '-infinity'
    from unnest($2::smallint[], $3::bigint[]) as given (lane, token)
    where l.lane = given.lane and l.token = given.token and l.owner = $1
    returning l.lane
)
select pg_notify($4, 'lanes'), count(*) from released
-- file: queries/lanes/renew.sql
-- Prolongs the leases this relay still holds, and says which; a lease that ran out is not revived.
-- Lanes are locked in their order, as everybody does: this relay's own writes lock them meanwhile, to keep their token, and
-- else the two might wait for each other.
-- $1 uuid this relay   $2 bigint lease, microseconds
update relay.lanes l
set expires_at = clock_timestamp() + $2::bigint * interval '1 microsecond'
from (select h.lane from relay.lanes h
      where h.owner = $1 and h.expires_at >= clock_timestamp()
      order by h.lane
      for no key update) held
where l.lane = held.lane and l.owner = $1
returning l.lane, l.token
-- file: queries/lanes/survey.sql
-- What there is to share: every lane, who holds it (null: nobody, or a lease that ran out), which relays live, and how long
-- until the first lease of another relay runs out.
-- $1 uuid this relay
select array_agg(l.lane order by l.lane) as lanes,
       array_agg(case when l.expires_at >= clock_timestamp() then l.owner end order by l.lane) as owners,
       array(select r.relay_id from relay.relays r where r.expires_at >= clock_timestamp()) as live,
       (extract(epoch from min(l.expires_at) filter (where l.owner <> $1 and l.expires_at >= clock_timestamp())
                           - clock_timestamp()) * 1000000)::bigint as first_expiry_us
from relay.lanes l
-- file: queries/lanes/unowned.sql
-- How many lanes nobody holds: their rows wait.
select count(*) as unowned from relay.lanes l where l.owner is null or l.expires_at < clock_timestamp()
-- file: queries/outbox/backlog.sql
-- How much is unfinished, and how old the oldest row is that should be out by now: for the gauges, and for `relay status`,
-- which may have no relay to ask. Counted to 10,000, so that it costs the same on any backlog.
-- A row's age begins when it was due. A waiting row counts when it failed before, or is overdue: then no relay lives to
-- take it. A held row does not: its head does. Ready rows are aged by themselves as well: what is old there waits for relay,
-- and what is old among the waiting is refused by the broker again and again.
-- Of dead rows the thousand that came first are looked at; of held keys ten thousand, but for those on their way.
-- $1 bigint  ready rows at or below this seq need not be looked for. While somebody's old snapshot is open, the index keeps an
-- entry for every row published meanwhile, and a count from the start goes through them all.
-- (Postgres before 17 can't subtract an infinite timestamp, and any producer may write one.)
select
    (select count(*) from (select from relay.outbox o
        where o.state = 'ready' and o.published_at is null and o.dead_at is null and o.seq > $1::bigint
        limit 10000) r) as ready,
    (select count(*) from (select from relay.outbox o
        where o.state = 'waiting' and o.published_at is null and o.dead_at is null limit 10000) w) as waiting,
    (select count(*) from (select from relay.outbox o
        where o.state = 'held' and o.published_at is null and o.dead_at is null limit 10000) h) as held,
    (select count(*) from (select from relay.outbox o
        where o.dead_at is not null and o.resolved_at is null limit 10000) d) as dead,
    (select count(*) from (select from relay.held_keys limit 10000) k) as held_keys,
    greatest(0, extract(epoch from clock_timestamp() - least(since.ready, since.waiting)))::double precision as oldest_age,
    greatest(0, extract(epoch from clock_timestamp() - since.ready))::double precision as oldest_ready_age,
    greatest(0, extract(epoch from clock_timestamp() - since.dead))::double precision as oldest_dead_age,
    greatest(0, extract(epoch from clock_timestamp() - since.held))::double precision as oldest_held_age,
    (select o.seq from relay.outbox o
     where o.state = 'ready' and o.published_at is null and o.dead_at is null and o.seq > $1
     order by o.seq limit 1) as first_ready
from (
    select
        (select greatest(o.created_at, o.available_at) from relay.outbox o
         where o.state = 'ready' and o.published_at is null and o.dead_at is null and o.available_at <= now()
           and o.seq > $1 and isfinite(o.created_at) and isfinite(o.available_at)
         order by o.seq limit 1) as ready,
        (select min(case when w.first_failed_at is not null then w.created_at
                         else greatest(w.created_at, w.available_at) end)
         from (
            select o.created_at, o.available_at, o.first_failed_at from relay.outbox o
            where o.state = 'waiting' and o.published_at is null and o.dead_at is null
              and (o.first_failed_at is not null or o.available_at <= now())
              and isfinite(o.created_at) and isfinite(o.available_at)
            order by o.available_at limit 1000) w) as waiting,
        (select min(d.dead_at) from (
            select o.dead_at from relay.outbox o
            where o.dead_at is not null and o.resolved_at is null
            order by o.seq limit 1000) d) as dead,
        (select min(k.since) filter (where k.reason <> 'releasing' and k.paused_by is null) from (
            select h.since, h.reason, h.paused_by from relay.held_keys h limit 10000) k) as held
) since
-- file: queries/outbox/beyond_horizon.sql
-- How many of these dead rows are older than some consumer remembers: replayed, such a consumer may do them again.
-- $1 bigint[]  seqs
select count(*) as beyond
from relay.outbox o
where o.seq = any ($1) and o.created_at < now() - (select min(c.horizon) from relay.consumers c)
-- file: queries/outbox/count_dead.sql
-- Dead rows that nobody has dealt with, by reason, and how many of them died after $1 and until $2. The newest 10,000 are
-- looked at.
-- $1 bigint  microseconds since 1970; null for no such count   $2 bigint  likewise
select coalesce(d.dead_reason, '') as reason, count(*) as dead,
       count(*) filter (where d.dead_at > 'epoch'::timestamptz + $1::bigint * interval '1 microsecond'
                          and d.dead_at <= 'epoch'::timestamptz + $2::bigint * interval '1 microsecond') as died
from (
    select o.dead_reason, o.dead_at from relay.outbox o
    where o.dead_at is not null and o.resolved_at is null
    order by o.seq desc limit 10000
) d
group by 1
order by 2 desc, 1
-- file: queries/outbox/count_published.sql
-- How many rows were marked published after $1 and until $2, and how far down was looked: for rates.
-- There is no index on published_at (docs/architecture.md, "Retention"). But rows are published about in the order of their
-- seq, so a walk down from where that goes on, a thousand rows at a time, may end where a thousand have none. It looks at 6,000 rows at
-- least, since what is in flight lies in front of what is out, and at 50,000 at most; `more` says that it was cut off.
-- $1 bigint  microseconds since 1970   $2 bigint  likewise   $3 bigint  from this seq down
with recursive walk (step, low, found) as (
    select 0, $3::bigint + 1, 0::bigint
    union all
    select w.step + 1, b.low, b.found
    from walk w
    cross join lateral (
        select min(r.seq) as low,
               count(*) filter (where r.published_at > 'epoch'::timestamptz + $1::bigint * interval '1 microsecond'
                                  and r.published_at <= 'epoch'::timestamptz + $2::bigint * interval '1 microsecond') as found
        from (select o.seq, o.published_at from relay.outbox o where o.seq < w.low order by o.seq desc limit 1000) r
    ) b
    where w.step < 50 and (w.step < 6 or w.found > 0) and b.low is not null
)
select sum(found)::bigint as found, min(low) as low, bool_or(step = 50 and found > 0) as more
from walk
-- file: queries/outbox/defer.sql
-- Rows that are not to be published yet (available_at lies ahead): out of the ready rows, found again when due.
-- $1 uuid      this relay   $2 smallint[] lanes   $3 bigint[] their tokens   $4 bigint[] seqs
with fence as (
    select l.lane
    from relay.lanes l
    join unnest($2::smallint[], $3::bigint[]) as mine (lane, token) on mine.lane = l.lane and mine.token = l.token
    where l.owner = $1
    for share of l
)
update relay.outbox o
set state = 'waiting'
from fence
where o.seq = any ($4) and o.lane = fence.lane and o.published_at is null and o.dead_at is null
-- file: queries/outbox/discard.sql
-- Declares dead rows dealt with, once each, and writes down who did it: they stay in the table, published by nobody. A
-- key that was parked behind one goes on.
-- Parameters, guard and locks as in replay:
-- $1 bigint[]  seqs      $2 integer[]  their generations
-- $3 text      actor     $4 text       the filter, as JSON   $5 text  note   $6 text  channel to notify
with chosen as (
    select o.seq
    from relay.outbox o
    join unnest($1::bigint[], $2::integer[]) as seen (seq, generation)
      on seen.seq = o.seq and seen.generation = o.generation
    where o.dead_at is not null and o.resolved_at is null
    order by o.seq
    for update of o
), discarded as (
    update relay.outbox o
    set resolved_at = now()
    from chosen c
    where o.seq = c.seq
    returning o.seq, o.aggregate_type, o.aggregate_id
), released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null, paused_by = null
    from discarded d
    where k.aggregate_type = d.aggregate_type and k.aggregate_id = d.aggregate_id
      and k.head_seq = d.seq and k.reason = 'parked'
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $3, 'discard', $4::text::jsonb, count(*), $5::text from discarded having count(*) > 0
)
select count(*) as affected, case when count(*) > 0 then pg_notify($6, '')::text end as notified
from discarded
-- file: queries/outbox/edit.sql
-- Gives a dead row another payload, keeps the one its producer wrote, and writes down who did it. It stays dead: a replay
-- publishes it, under the same event id. The generation rises, so whoever looked at the row before acts on it no more.
-- $1 uuid     event id, or null   $2 bigint  seq, or null      $3 integer  its generation as seen; null: whatever it is
-- $4 text     payload             $5 text    actor             $6 text     note
-- Returns the row as it was, if there is one, and its generation now, if it was edited.
with edited as (
    update relay.outbox o
    set payload = $4::text::jsonb,
        original_payload = coalesce(o.original_payload, o.payload),
        generation = o.generation + 1
    where (o.event_id = $1 or o.seq = $2) and o.dead_at is not null and o.resolved_at is null
      and o.generation = coalesce($3, o.generation)
    returning o.seq, o.event_id, o.generation
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $5, 'edit',
           jsonb_build_object('event_ids', jsonb_build_array(e.event_id), 'seq', e.seq, 'generation', e.generation),
           1, $6::text
    from edited e
)
select o.seq, o.event_id, o.dead_at is not null as dead, o.resolved_at is not null as resolved,
       (select e.generation from edited e) as generation
from relay.outbox o
where o.event_id = $1 or o.seq = $2
-- file: queries/outbox/enqueue.sql
-- Adds one event, as a producer would. Returns its event id.
-- $1 text  aggregate type   $2 text  aggregate id   $3 text  event type   $4 text  payload, JSON   $5 text  headers, JSON
-- $6 bigint  available at, microseconds since 1970, or null   $7 bigint  or so many microseconds from now, or null
-- $8 text  exchange, or null   $9 text  routing key, or null   $10 uuid  event id, or null
select relay.enqueue($1, $2, $3, $4::text::jsonb, $5::text::jsonb,
                     coalesce('epoch'::timestamptz + $6::bigint * interval '1 microsecond',
                              now() + coalesce($7::bigint, 0) * interval '1 microsecond'),
                     $8, $9, $10)
-- file: queries/outbox/follow.sql
-- An event that follows from a message, in the transaction of its effect.
-- $1 text  aggregate type   $2 text  aggregate id   $3 text  event type   $4 text  payload   $5 text  headers
select relay.enqueue($1, $2, $3, $4::text::jsonb, $5::text::jsonb)
-- file: queries/outbox/hold.sql
-- Rows that wait behind the head of their key. Their key gets an entry if it has none: then nothing is in front of
-- them any more, and they come back with the next release.
-- $1 uuid      this relay   $2 smallint[] lanes   $3 bigint[] their tokens   $4 bigint[] seqs
with fence as (
    select l.lane
    from relay.lanes l
    join unnest($2::smallint[], $3::bigint[]) as mine (lane, token) on mine.lane = l.lane and mine.token = l.token
    where l.owner = $1
    for share of l
), held as (
    update relay.outbox o
    set state = 'held'
    from fence
    where o.seq = any ($4) and o.lane = fence.lane and o.published_at is null and o.dead_at is null
      and octet_length(o.aggregate_type) <= 255 and octet_length(o.aggregate_id) <= 255
    returning o.seq, o.aggregate_type, o.aggregate_id, o.lane
), keys as (
    insert into relay.held_keys as k (aggregate_type, aggregate_id, lane, head_seq, reason)
    select h.aggregate_type, h.aggregate_id, h.lane, min(h.seq), 'releasing'
    from held h
    group by h.aggregate_type, h.aggregate_id, h.lane
    -- Entries are locked in one order everywhere, or two statements might wait for each other.
    order by h.aggregate_type, h.aggregate_id
    -- Changes nothing, but locks the entry: so that it can't be closed before these rows are seen to be held.
    on conflict (aggregate_type, aggregate_id) do update set lane = k.lane
)
select count(*) as held from held
-- file: queries/outbox/hot_keys.sql
-- The keys with the most unfinished rows, among the first 10,000 ready and 10,000 held ones.
-- $1 bigint  ready rows at or below this seq need not be looked for: see backlog.sql
-- $2 bigint  at most so many keys
select u.aggregate_type, u.aggregate_id, count(*) filter (where not u.held) as ready, count(*) filter (where u.held) as held
from (
    (select o.aggregate_type, o.aggregate_id, false as held from relay.outbox o
     where o.state = 'ready' and o.published_at is null and o.dead_at is null and o.seq > $1
     order by o.seq limit 10000)
    union all
    (select o.aggregate_type, o.aggregate_id, true as held from relay.outbox o
     where o.state = 'held' and o.published_at is null and o.dead_at is null
     order by o.aggregate_type, o.aggregate_id, o.seq limit 10000)
) u
group by u.aggregate_type, u.aggregate_id
having count(*) > 1
order by count(*) desc, u.aggregate_type, u.aggregate_id
limit $2
-- file: queries/outbox/letters_sent.sql
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
-- file: queries/outbox/list_dead.sql
-- Dead rows that nobody has dealt with, the oldest seq first: so that what is listed is what a replay takes first.
-- A parameter that is null selects everything.
-- $1 uuid[]  event ids           $2 text    event type      $3 text    aggregate type   $4 text   aggregate id
-- $5 text    dead reason         $6 bigint  died at or after, microseconds since 1970   $7 bigint  died before
-- $8 bigint  after this seq      $9 bigint  at most so many rows
-- Read through the index of dead rows; the filters then cost what there are dead rows, never what the table holds.
select o.seq, o.generation, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type, o.dead_reason,
       o.attempts, o.replays, o.created_at, o.dead_at, o.last_error
from relay.outbox o
where o.dead_at is not null and o.resolved_at is null
  and ($1::uuid[] is null or o.event_id = any ($1))
  and ($2::text is null or o.event_type = $2)
  and ($3::text is null or o.aggregate_type = $3)
  and ($4::text is null or o.aggregate_id = $4)
  and ($5::text is null or o.dead_reason = $5)
  and ($6::bigint is null or o.dead_at >= 'epoch'::timestamptz + $6 * interval '1 microsecond')
  and ($7::bigint is null or o.dead_at < 'epoch'::timestamptz + $7 * interval '1 microsecond')
  and o.seq > $8
order by o.seq
limit $9
-- file: queries/outbox/list_retrying.sql
-- Rows that failed and are tried again, those due next first, and how many there are. Of what waits the thousand rows that are
-- due next are looked at; rows scheduled for later by their producers wait among them.
-- $1 bigint  at most so many
select f.seq, f.aggregate_type, f.aggregate_id, f.event_type, f.attempts,
       extract(epoch from f.available_at - clock_timestamp())::double precision as due_in,
       extract(epoch from clock_timestamp() - f.first_failed_at)::double precision as failing_for,
       f.last_error, count(*) over () as retrying
from (
    select o.seq, o.aggregate_type, o.aggregate_id, o.event_type, o.attempts, o.available_at, o.first_failed_at, o.last_error
    from relay.outbox o
    where o.state = 'waiting' and o.published_at is null and o.dead_at is null and isfinite(o.available_at)
    order by o.available_at limit 1000
) f
where f.first_failed_at is not null
order by f.available_at, f.seq
limit $1
-- file: queries/outbox/mark_dead.sql
-- Rows whose dead letter the broker has confirmed. Under on_dead = skip their key goes on; under park it is held
-- behind them until an operator decides.
-- any (array[..]): see mark_published.sql.
-- $1 uuid      this relay   $2 smallint[] lanes        $3 bigint[] their tokens
-- $4 bigint[]  seqs         $5 integer[]  generations  $6 integer[] attempts from now on (not a difference: repeating it changes nothing)
-- $7 text[]    reasons      $8 text[]     errors       $9 boolean  park
with fence as (
    select l.lane
    from relay.lanes l
    join unnest($2::smallint[], $3::bigint[]) as mine (lane, token) on mine.lane = l.lane and mine.token = l.token
    where l.owner = $1
    for share of l
), dead as (
    update relay.outbox o
    set dead_at = now(),
        dead_reason = d.reason,
        last_error = d.error,
        -- If it is replayed one day.
        suspect = o.suspect or d.reason = 'refused',
        attempts = greatest(o.attempts, d.attempts),
        first_failed_at = coalesce(o.first_failed_at, now())
    from unnest($4::bigint[], $5::integer[], $6::integer[], $7::text[], $8::text[])
             as d (seq, generation, attempts, reason, error),
         fence
    where o.seq = any (array[d.seq]) and o.generation = d.generation and o.lane = fence.lane
      and o.published_at is null and o.dead_at is null
    returning o.seq, o.aggregate_type, o.aggregate_id, o.lane
), parked as (
    insert into relay.held_keys as k (aggregate_type, aggregate_id, lane, head_seq, reason)
    select distinct on (d.aggregate_type, d.aggregate_id) d.aggregate_type, d.aggregate_id, d.lane, d.seq, 'parked'
    from dead d
    where $9 and octet_length(d.aggregate_type) <= 255 and octet_length(d.aggregate_id) <= 255
    order by d.aggregate_type, d.aggregate_id, d.seq
    on conflict (aggregate_type, aggregate_id) do update
    set head_seq = excluded.head_seq, reason = 'parked', due_at = null, paused_by = null
), released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null, paused_by = null
    from dead d
    where not $9 and k.aggregate_type = d.aggregate_type and k.aggregate_id = d.aggregate_id and k.head_seq = d.seq
)
-- Those that are dead already died of this very statement, whose answer was lost.
select (select count(*) from dead)
     + (select count(*)
        from unnest($4::bigint[], $5::integer[], $7::text[]) as d (seq, generation, reason)
        join relay.outbox o on o.seq = any (array[d.seq]) and o.generation = d.generation and o.dead_reason = d.reason) as dead
-- file: queries/outbox/mark_head_published.sql
-- Records confirms of rows that head a held key, and lets each key's held rows go, in one statement: a crash in
-- between would strand them.
-- any (array[..]): see mark_published.sql.
-- $1 bigint[] seqs   $2 integer[] their generations
with marked as (
    update relay.outbox o
    set published_at = now()
    from unnest($1::bigint[], $2::integer[]) as sent (seq, generation)
    where o.seq = any (array[sent.seq]) and o.generation = sent.generation and o.published_at is null and o.dead_at is null
    returning o.seq, o.aggregate_type, o.aggregate_id
)
update relay.held_keys k
set reason = 'releasing', due_at = null, paused_by = null
from marked m
where k.aggregate_type = m.aggregate_type and k.aggregate_id = m.aggregate_id and k.head_seq = m.seq
-- file: queries/outbox/mark_published.sql
-- Records confirms. A confirm is a fact, so it needs no lease; only the generation that was sent counts.
-- any (array[..]) is =, but nothing the planner could go through all of the primary key for: on a table that was empty when it
-- was last analyzed it would, for each mark, and until the next analyze.
-- $1 bigint[] seqs   $2 integer[] their generations
update relay.outbox o
set published_at = now()
from unnest($1::bigint[], $2::integer[]) as sent (seq, generation)
where o.seq = any (array[sent.seq]) and o.generation = sent.generation and o.published_at is null and o.dead_at is null
-- file: queries/outbox/mark_unlocked.sql
-- Records confirms of those rows that nobody else has locked, and says which. Only when marking all at once has run into
-- a lock: locking first costs more.
-- any (array[..]): see mark_published.sql.
-- $1 bigint[] seqs   $2 integer[] their generations
with free as (
    select o.seq
    from relay.outbox o
    join unnest($1::bigint[], $2::integer[]) as sent (seq, generation)
      on o.seq = any (array[sent.seq]) and o.generation = sent.generation
    where o.published_at is null and o.dead_at is null
    order by sent.seq
    for update of o skip locked
), marked as (
    update relay.outbox o set published_at = now() from free where o.seq = any (array[free.seq])
    returning o.seq, o.aggregate_type, o.aggregate_id
), released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null, paused_by = null
    from marked m
    where k.aggregate_type = m.aggregate_type and k.aggregate_id = m.aggregate_id and k.head_seq = m.seq
)
-- What is neither marked nor unfinished needs no mark any more, so only what is left unfinished is named.
select o.seq
from relay.outbox o
join unnest($1::bigint[], $2::integer[]) as sent (seq, generation)
  on o.seq = any (array[sent.seq]) and o.generation = sent.generation
where o.published_at is null and o.dead_at is null and not exists (select from marked m where m.seq = sent.seq)
-- file: queries/outbox/may_prune.sql
-- Whether it is this relay that removes old rows, and whether its role may; and the database's clock.
-- $1 uuid  this relay
-- One relay at a time does it: whoever owns the first lane. It has a lease on that, by the database's clock, and hands it
-- on when it stops; an advisory lock of a session would be left behind in a pooler. Two at once, for a moment, do no harm.
select exists (select from relay.lanes l where l.lane = 0 and l.owner = $1 and l.expires_at > clock_timestamp()) as turn,
       has_table_privilege('relay.outbox', 'delete') as allowed,
       clock_timestamp() as now
-- file: queries/outbox/next_due.sql
-- How long until the next waiting row of these lanes is due, in microseconds; no row when none waits.
-- A day at most: a row may wait for infinity, which Postgres before 17 can't subtract from, nor any count in microseconds.
-- $1 integer  lanes owned, as a bit mask
select (greatest(extract(epoch from least(o.available_at, clock_timestamp() + interval '1 day') - clock_timestamp()), 0)
        * 1000000)::bigint as after_us
from relay.outbox o
where o.state = 'waiting' and o.published_at is null and o.dead_at is null and (1 << o.lane) & $1 <> 0
order by o.available_at
limit 1
-- file: queries/outbox/of_key.sql
-- Rows of an aggregate key, the latest first, as far as they are found without looking through the table: those that are held
-- and those that are dead, by their indexes; the head that the key waits for; and all others among the latest of the table.
-- $1 text  aggregate type   $2 text  aggregate id   $3 bigint  at most so many   $4 bigint  how far back to look, in seqs
-- The first column is that seq: what came before it and is published was not looked for.
-- Said from both sides: of a range that is open Postgres expects a third of the table, and would read all of it.
with latest as (
    select coalesce(max(o.seq), 0) as newest, coalesce(max(o.seq), 0) - $4 as beyond from relay.outbox o
), found as (
    (select o.seq
     from relay.outbox o
     where o.seq > (select l.beyond from latest l) and o.seq <= (select l.newest from latest l)
       and o.aggregate_type = $1 and o.aggregate_id = $2
     order by o.seq desc
     limit $3)
    union
    (select o.seq
     from relay.outbox o
     where o.aggregate_type = $1 and o.aggregate_id = $2
       and o.state = 'held' and o.published_at is null and o.dead_at is null
     order by o.seq desc
     limit $3)
    union
    (select o.seq
     from relay.outbox o
     where o.dead_at is not null and o.resolved_at is null and o.aggregate_type = $1 and o.aggregate_id = $2
     order by o.seq desc
     limit $3)
    union
    select k.head_seq from relay.held_keys k where k.aggregate_type = $1 and k.aggregate_id = $2
)
select greatest((select l.beyond from latest l), 0) as beyond, o.seq, o.event_id, o.event_type,
       case when o.published_at is not null then 'published'
            when o.resolved_at is not null then 'discarded'
            when o.dead_at is not null then 'dead'
            else o.state end as state,
       o.created_at, o.available_at, o.published_at, o.dead_at, o.dead_reason, o.attempts, o.replays, o.last_error
from found f
join relay.outbox o on o.seq = f.seq
order by o.seq desc
limit $3
-- file: queries/outbox/pause.sql
-- Rows whose turn has come and that a pause is about: they are held, and their key with them. Nobody is charged. Needs the
-- lane's current token, as reschedule does.
-- $1 uuid      this relay   $2 smallint[] lanes        $3 bigint[]  their tokens
-- $4 bigint[]  seqs         $5 integer[]  generations  $6 bigint[]  the pause of each   $7 boolean[] to be tried apart
-- any (array[..]): see mark_published.sql.
-- A pause that is over by now holds nobody: then the key is let go at once, or it would wait for ever. One that stands is
-- locked, so that it does until these keys are seen to wait for it.
-- A key that waits for an earlier row of its own, or for a dead one, goes on waiting for that one.
with fence as (
    select l.lane
    from relay.lanes l
    join unnest($2::smallint[], $3::bigint[]) as mine (lane, token) on mine.lane = l.lane and mine.token = l.token
    where l.owner = $1
    for share of l
), standing as (
    select p.pause_id
    from relay.pauses p
    where p.pause_id = any ($6::bigint[])
    order by p.pause_id
    for key share of p
), paused as (
    update relay.outbox o
    set state = 'held', suspect = r.suspect
    from unnest($4::bigint[], $5::integer[], $6::bigint[], $7::boolean[]) as r (seq, generation, pause_id, suspect),
         fence
    where o.seq = any (array[r.seq]) and o.generation = r.generation and o.lane = fence.lane
      and o.published_at is null and o.dead_at is null
      and octet_length(o.aggregate_type) <= 255 and octet_length(o.aggregate_id) <= 255
    returning o.seq, o.aggregate_type, o.aggregate_id, o.lane, r.pause_id
), keys as (
    insert into relay.held_keys as k (aggregate_type, aggregate_id, lane, head_seq, reason, paused_by)
    select distinct on (p.aggregate_type, p.aggregate_id)
           p.aggregate_type, p.aggregate_id, p.lane, p.seq,
           case when s.pause_id is null then 'releasing' else 'parked' end, s.pause_id
    from paused p
    left join standing s on s.pause_id = p.pause_id
    order by p.aggregate_type, p.aggregate_id, p.seq
    on conflict (aggregate_type, aggregate_id) do update
    set head_seq = excluded.head_seq, reason = excluded.reason, paused_by = excluded.paused_by, due_at = null
    where k.reason = 'releasing'
       or ((k.reason = 'retrying' or k.paused_by is not null) and k.head_seq >= excluded.head_seq)
)
select count(*) as held,
       array(select distinct r.pause_id from unnest($6::bigint[]) as r (pause_id)
             where r.pause_id not in (select s.pause_id from standing s)) as over
from paused
-- file: queries/outbox/payload_bytes.sql
-- How large a row's payload is as text, with the one that its producer wrote if an operator has edited it: to be asked before
-- either is fetched.
-- $1 uuid  event id, or null   $2 bigint  seq, or null
select octet_length(o.payload::text)::bigint + coalesce(octet_length(o.original_payload::text), 0) as bytes
from relay.outbox o
where o.event_id = $1 or o.seq = $2
-- file: queries/outbox/prunable.sql
-- Looks at the next rows in seq order, and says which of them nobody needs any more. Changes and locks nothing.
-- $1 bigint  after this seq   $2 bigint  at most so many rows are looked at
-- $3 bigint  published, or discarded, before this time, in microseconds since 1970
-- $4 bigint  dead before this time, whether anybody has dealt with it or not; null: such rows stay
-- Returns one row: the last seq looked at (null at the end of the table), how many rows that were, whether any of them was
-- made before these times, and the seqs found with what each is.
-- Through the primary key: rows are published about in the order in which they were made, so whoever walks from the oldest
-- on finds what is old, and may stop where all is young. An index on published_at would be paid for by every mark.
-- A dead row that its key waits behind stays: without it the key would wait for ever.
with cutoffs as (
    select 'epoch'::timestamptz + $3::bigint * interval '1 microsecond' as finished,
           'epoch'::timestamptz + $4::bigint * interval '1 microsecond' as dead
), looked as (
    select o.seq, o.created_at, o.published_at, o.dead_at, o.resolved_at
    from relay.outbox o
    where o.seq > $1
    order by o.seq
    limit $2
), judged as materialized (
    select l.seq,
           l.created_at < greatest(c.finished, c.dead) as old,
           case when l.published_at < c.finished then 'published'
                when l.resolved_at < c.finished then 'discarded'
                when l.dead_at < c.dead and l.resolved_at is null
                     and not exists (select from relay.held_keys k where k.head_seq = l.seq) then 'dead'
           end as kind
    from looked l cross join cutoffs c
)
select max(j.seq) as upto,
       count(*) as looked,
       coalesce(bool_or(j.old), false) as old,
       coalesce(array_agg(j.seq order by j.seq) filter (where j.kind is not null), '{}') as seqs,
       coalesce(array_agg(j.kind order by j.seq) filter (where j.kind is not null), '{}') as kinds
from judged j
-- file: queries/outbox/prune.sql
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
-- file: queries/outbox/replay.sql
-- Makes dead rows live again, once each, and writes down who did it. Guarded by dead_at and by the generation that was
-- seen: a row that somebody else replayed or discarded meanwhile is left alone, so repeating this changes nothing.
-- $1 bigint[]  seqs      $2 integer[]  their generations
-- $3 text      actor     $4 text       the filter, as JSON   $5 text  note   $6 text  channel to notify
-- A row whose key goes on is due at once and takes its turn by the due scan. A row whose key is parked joins the rows
-- held there, and if it is the head, the key is released: held rows go out in seq order, so several dead rows of one
-- key do too, in whatever batches they come.
-- Locks: outbox rows by seq, then keys, as relay's own writes do. A parked key stays locked until the end: were it
-- discarded in between, its entry could be forgotten before these rows are seen behind it.
with chosen as (
    select o.seq, o.aggregate_type, o.aggregate_id
    from relay.outbox o
    join unnest($1::bigint[], $2::integer[]) as seen (seq, generation)
      on seen.seq = o.seq and seen.generation = o.generation
    where o.dead_at is not null and o.resolved_at is null
    order by o.seq
    for update of o
), parked as (
    select k.aggregate_type, k.aggregate_id
    from relay.held_keys k
    where k.reason = 'parked'
      and (k.aggregate_type, k.aggregate_id) in (select c.aggregate_type, c.aggregate_id from chosen c)
    order by k.aggregate_type, k.aggregate_id
    for update of k
), replayed as (
    update relay.outbox o
    set dead_at = null,
        dead_reason = null,
        state = case when p.aggregate_id is null then 'waiting' else 'held' end,
        available_at = now(),
        attempts = 0,
        generation = o.generation + 1,
        replays = o.replays + 1
    from chosen c
    left join parked p on p.aggregate_type = c.aggregate_type and p.aggregate_id = c.aggregate_id
    where o.seq = c.seq
    returning o.seq, o.aggregate_type, o.aggregate_id
), released as (
    update relay.held_keys k
    set reason = 'releasing', due_at = null, paused_by = null
    from replayed r
    where k.aggregate_type = r.aggregate_type and k.aggregate_id = r.aggregate_id
      and k.head_seq = r.seq and k.reason = 'parked'
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $3, 'replay', $4::text::jsonb, count(*), $5::text from replayed having count(*) > 0
)
select count(*) as affected, case when count(*) > 0 then pg_notify($6, '')::text end as notified
from replayed
-- file: queries/outbox/reschedule.sql
-- Failed rows, to be tried again after a delay on the database's clock. With each, its key is held. Needs the
-- lane's current token: a relay that lost its lane reschedules nothing. FOR SHARE keeps a take-over waiting until this
-- statement is over.
-- any (array[..]): see mark_published.sql.
-- $1 uuid      this relay            $2 smallint[] lanes        $3 bigint[] their tokens
-- $4 bigint[]  seqs                  $5 integer[]  generations  $6 integer[] attempts from now on (not a difference: repeating it changes nothing)
-- $7 bigint[]  delay, microseconds   $8 text[]     what went wrong, at most 4 KiB
-- $9 boolean[] to be tried apart
-- $10 boolean  hold the keys (not under ordering = none)
-- Keys longer than 255 bytes are never held: their rows are poison all, and no index could hold them.
with fence as (
    select l.lane
    from relay.lanes l
    join unnest($2::smallint[], $3::bigint[]) as mine (lane, token) on mine.lane = l.lane and mine.token = l.token
    where l.owner = $1
    for share of l
), failed as (
    update relay.outbox o
    set state = 'waiting',
        attempts = greatest(o.attempts, f.attempts),
        available_at = now() + f.delay_us * interval '1 microsecond',
        first_failed_at = coalesce(o.first_failed_at, now()),
        last_error = f.error,
        suspect = f.suspect
    from unnest($4::bigint[], $5::integer[], $6::integer[], $7::bigint[], $8::text[], $9::boolean[])
             as f (seq, generation, attempts, delay_us, error, suspect),
         fence
    where o.seq = any (array[f.seq]) and o.generation = f.generation and o.lane = fence.lane
      and o.published_at is null and o.dead_at is null
    returning o.seq, o.aggregate_type, o.aggregate_id, o.lane, o.available_at
), holding as (
    insert into relay.held_keys as k (aggregate_type, aggregate_id, lane, head_seq, reason, due_at)
    select distinct on (f.aggregate_type, f.aggregate_id)
           f.aggregate_type, f.aggregate_id, f.lane, f.seq, 'retrying', f.available_at
    from failed f
    where $10 and octet_length(f.aggregate_type) <= 255 and octet_length(f.aggregate_id) <= 255
    order by f.aggregate_type, f.aggregate_id, f.seq
    on conflict (aggregate_type, aggregate_id) do update
    set head_seq = excluded.head_seq, reason = 'retrying', due_at = excluded.due_at, paused_by = null
    returning 1
)
select count(*) as rescheduled from failed
-- file: queries/outbox/routes.sql
-- Where rows were to go lately, and what the broker made of it: for `relay doctor`, which can't ask a broker whether a
-- message would find a queue without sending it.
-- $1 bigint   the newest so many rows are looked at, and as many of the newest dead ones that nobody has dealt with
-- $2 boolean  whether the routing key that rows without one get differs by aggregate
-- $3 bigint   at most so many destinations, those of the newest rows
-- A row that names its routing key has no other columns here; of others there is what the key is made of.
-- routed: when a row was last published there, so a queue took it. returned: when the last row was returned that is not
-- published yet; of one that is to be tried again, when it first failed.
with looked as (
    (select o.seq from relay.outbox o order by o.seq desc limit $1)
    union
    (select o.seq from relay.outbox o where o.dead_at is not null and o.resolved_at is null order by o.seq desc limit $1)
)
select o.exchange,
       o.routing_key,
       case when o.routing_key is null then o.aggregate_type end as aggregate_type,
       case when o.routing_key is null and $2 then o.aggregate_id end as aggregate_id,
       case when o.routing_key is null then o.event_type end as event_type,
       count(*) as rows,
       max(o.published_at) as routed,
       max(coalesce(o.dead_at, o.first_failed_at)) filter (
           where o.published_at is null and o.resolved_at is null
             and (o.dead_reason = 'unroutable'
                  or o.dead_at is null and o.last_error like 'returned by the broker: %')) as returned
from looked l join relay.outbox o on o.seq = l.seq
group by 1, 2, 3, 4, 5
order by max(o.seq) desc
limit $3
-- file: queries/outbox/scan_due.sql
-- Waiting rows whose time has come, the longest due first. Parameters as in scan_ready, without the range:
-- $1 integer  lanes owned, as a bit mask   $2 text  rows relay has already, as int8multirange
-- $3 bigint   at most so many rows         $4 integer   largest payload to fetch, bytes of its text
select o.seq, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type,
       case when octet_length(t.payload) <= $4 then t.payload end as payload,
       case when octet_length(t.headers) <= 1048576 then t.headers end as headers,
       o.exchange, o.routing_key, o.created_at, true as due, o.attempts, o.generation, o.lane,
       o.first_failed_at, o.replays, o.suspect,
       (select h.head_seq from relay.held_keys h
        where h.aggregate_type = o.aggregate_type and h.aggregate_id = o.aggregate_id) as head_seq
from (
    select *
    from relay.outbox o
    where o.state = 'waiting' and o.published_at is null and o.dead_at is null
      and o.available_at <= now() and (1 << o.lane) & $1 <> 0 and not o.seq <@ (select $2::text::int8multirange)
    order by o.available_at, o.seq
    limit $3
) o
cross join lateral (
    select case when $4 >= 0 then o.payload::text end as payload, case when $4 >= 0 then o.headers::text end as headers
    offset 0
) t
order by o.available_at, o.seq
-- file: queries/outbox/scan_ready.sql
-- Ready rows in a range of seq, in order. Used for new rows (from the cursor on) and for stragglers (up to it).
-- $1 bigint   after this seq               $2 bigint    up to this seq, inclusive
-- $3 integer  lanes owned, as a bit mask   $4 text  rows relay has already, as int8multirange
-- $5 bigint   at most so many rows         $6 integer   largest payload to fetch, bytes of its text
-- $7 boolean  whether any key may be held
-- Why a payload can be null: one that is too large must not reach relay's memory. Its stored size says nothing: a number
-- of ten bytes can be 131,072 digits. So it is turned into text once, here (offset 0 keeps it from being done twice), which
-- sending it as jsonb would do as well. Text beyond what Postgres can build fails the statement; the scanner then asks for
-- that row alone with $6 = -1, and gets it without. Hence the limit inside: no row but those asked for is turned into text.
select o.seq, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type,
       case when octet_length(t.payload) <= $6 then t.payload end as payload,
       case when octet_length(t.headers) <= 1048576 then t.headers end as headers,
       o.exchange, o.routing_key, o.created_at, o.available_at <= clock_timestamp() as due, o.attempts, o.generation, o.lane,
       o.first_failed_at, o.replays, o.suspect,
       case when $7 then (select h.head_seq from relay.held_keys h
                          where h.aggregate_type = o.aggregate_type and h.aggregate_id = o.aggregate_id) end as head_seq
from (
    select *
    from relay.outbox o
    where o.state = 'ready' and o.published_at is null and o.dead_at is null
      and o.seq > $1 and o.seq <= $2 and (1 << o.lane) & $3 <> 0 and not o.seq <@ (select $4::text::int8multirange)
    order by o.seq
    limit $5
) o
cross join lateral (
    select case when $6 >= 0 then o.payload::text end as payload, case when $6 >= 0 then o.headers::text end as headers
    offset 0
) t
order by o.seq
-- file: queries/outbox/scan_released.sql
-- Held rows of keys that are being released, in seq order within a key, a bounded number of each.
-- $1 integer  lanes owned, as a bit mask   $2 text  rows relay has already, as int8multirange
-- $3 bigint   at most so many rows         $4 integer   largest payload to fetch, bytes of its text
-- $5 bigint   at most so many of a key    $6 bigint[]  rows whose keys to leave out
select o.seq, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type,
       case when octet_length(t.payload) <= $4 then t.payload end as payload,
       case when octet_length(t.headers) <= 1048576 then t.headers end as headers,
       o.exchange, o.routing_key, o.created_at, true as due, o.attempts, o.generation, o.lane,
       o.first_failed_at, o.replays, o.suspect, null::bigint as head_seq
from (
    select k.since, o.*
    from (
        select k.aggregate_type, k.aggregate_id, k.since
        from relay.held_keys k
        where k.reason = 'releasing' and (1 << k.lane) & $1 <> 0
          and not exists (select from relay.outbox a
                          where a.seq = any ($6) and a.aggregate_type = k.aggregate_type
                            and a.aggregate_id = k.aggregate_id)
        order by k.since
        limit 1000
    ) k
    cross join lateral (
        select *
        from relay.outbox h
        where h.aggregate_type = k.aggregate_type and h.aggregate_id = k.aggregate_id
          and h.state = 'held' and h.published_at is null and h.dead_at is null and not h.seq <@ (select $2::text::int8multirange)
        order by h.seq
        limit $5
    ) o
    order by k.since, o.aggregate_type, o.aggregate_id, o.seq
    limit $3
) o
cross join lateral (
    select case when $4 >= 0 then o.payload::text end as payload, case when $4 >= 0 then o.headers::text end as headers
    offset 0
) t
order by o.since, o.aggregate_type, o.aggregate_id, o.seq
-- file: queries/outbox/sequence_cache.sql
-- How many numbers each session takes from the sequence of seq at a time: more than one, and a number says nothing of when
-- it was drawn. No row where seq has no sequence.
select seqcache from pg_sequence where seqrelid = pg_get_serial_sequence('relay.outbox', 'seq')::regclass
-- file: queries/outbox/settled_letters.sql
-- Of dead letters, those whose row has moved on since: replayed, published or discarded. A letter whose row is not here
-- may be another outbox's, and one whose row is not dead yet came before its mark: neither is settled.
-- $1 uuid[]  message ids   $2 bigint[]  their x-relay-seq   $3 integer[]  their x-relay-replays
-- Returns the place of each settled letter in the arrays, from 1.
select letter.place
from unnest($1::uuid[], $2::bigint[], $3::integer[]) with ordinality as letter (event_id, seq, replays, place)
join relay.outbox o on o.seq = letter.seq and o.event_id = letter.event_id
where o.replays > letter.replays or o.published_at is not null or o.resolved_at is not null
-- file: queries/outbox/show.sql
-- Every column of one row, in the table's order, as name and JSON value: a column that a later migration adds is shown
-- without a change here. And whether an operator has edited its payload.
-- $1 uuid  event id, or null   $2 bigint  seq, or null   $3 boolean  the payload too, and the original one
select c.key,
       case when c.key = 'payload' and not $3 then null
            when c.key = 'original_payload' and (not $3 or o.original_payload is null) then null
            else c.value::text end as value
from relay.outbox o
cross join lateral (
    select j.key, j.value from json_each(row_to_json(o)) as j
    union all
    select 'edited', to_json(o.original_payload is not null)
) as c
where o.event_id = $1 or o.seq = $2
-- file: queries/outbox/trace.sql
-- The life of an event as far as the tables tell it: when, who, what, and what else there is to say: in order of time, what
-- is yet to come last. Of a row that was removed, what consumers' inboxes know.
-- $1 uuid  event id, or null   $2 bigint  seq, or null
-- The inbox has no index by message alone: it is asked once for each consumer there is, and those are found one from the
-- other along its key.
with recursive event as (
    select o.seq, o.event_id, o.aggregate_type, o.aggregate_id, o.event_type, o.exchange, o.routing_key, o.created_at,
           o.available_at, o.attempts, o.last_error, o.published_at, o.dead_at, o.dead_reason, o.lane, o.state, o.first_failed_at,
           o.replays, o.resolved_at, o.published_at is null and o.dead_at is null as unfinished
    from relay.outbox o
    where o.event_id = $1 or o.seq = $2
), message as (
    select coalesce((select e.event_id from event e), $1) as id
), consumers as (
    (select i.consumer from relay.inbox i order by i.consumer limit 1)
    union all
    select (select i.consumer from relay.inbox i where i.consumer > c.consumer order by i.consumer limit 1)
    from consumers c
    where c.consumer is not null
), received as (
    select i.consumer, i.received_at, i.state, i.attempts, i.due_at, i.done_at, i.last_error, i.first_failed_at, i.reason,
           i.dead_at, i.replays, i.resolved_at
    from message m
    cross join consumers c
    join relay.inbox i on i.consumer = c.consumer and i.message_id = m.id::text
), steps (at, place, who, what, detail) as (
    select e.created_at, 1, 'producer', 'inserted',
           format('%s of %s/%s, seq %s%s', e.event_type, e.aggregate_type, e.aggregate_id, e.seq,
                  coalesce(', for exchange ' || e.exchange, '') || coalesce(', routing key ' || e.routing_key, ''))
    from event e
    union all
    select e.first_failed_at, 2, 'relay', 'failed', null from event e
    union all
    select e.published_at, 3, 'relay', 'published',
           'the broker''s confirm, written down' || case when e.replays > 0 then format(', after %s replays', e.replays) else '' end
    from event e
    union all
    select e.dead_at, 3, 'relay', 'died', format('%s: %s', e.dead_reason, e.last_error) from event e
    where e.dead_reason is distinct from 'skipped'
    union all
    select a.at, 4, a.actor, a.action, a.note
    from message m
    join relay.audit a on a.action <> 'discard' and a.filter -> 'event_ids' ? m.id::text
    union all
    -- The audit's entry is of the same transaction.
    select e.resolved_at, 4, coalesce(d.actor, 'operator'), 'discarded', d.note
    from event e
    left join lateral (
        select a.actor, a.note from relay.audit a where a.at = e.resolved_at and a.action = 'discard' limit 1) d on true
    where e.dead_reason is distinct from 'skipped'
    union all
    select r.received_at, 5, r.consumer, 'received', null from received r
    union all
    select r.first_failed_at, 6, r.consumer, 'failed', null from received r
    union all
    select r.done_at, 7, r.consumer, 'done',
           case when r.attempts > 1 then format('at attempt %s', r.attempts) end
    from received r
    union all
    select r.dead_at, 7, r.consumer, 'died', format('%s: %s', r.reason, r.last_error) from received r
    union all
    select r.resolved_at, 8, r.consumer, 'discarded', null from received r
), pending (due_at, place, who, what, detail) as (
    select case when e.state = 'waiting' or e.available_at > clock_timestamp() then e.available_at end, 1,
           coalesce((select r.name from relay.lanes l join relay.relays r on r.relay_id = l.owner
                     where l.lane = e.lane and l.expires_at > clock_timestamp()), 'nobody'),
           case e.state when 'held' then 'is to publish it: held' else 'is to publish it: ' || e.state end,
           concat_ws(', ', 'lane ' || e.lane,
                     (select format('its key waits behind seq %s, %s since %s', k.head_seq, k.reason, k.since)
                      from relay.held_keys k
                      where k.aggregate_type = e.aggregate_type and k.aggregate_id = e.aggregate_id
                        and k.head_seq <> e.seq),
                     (select 'its key is paused by ' || k.paused_by
                      from relay.held_keys k
                      where k.aggregate_type = e.aggregate_type and k.aggregate_id = e.aggregate_id
                        and k.reason = 'parked' and k.paused_by is not null),
                     case when e.attempts > 0 then format('%s attempts', e.attempts) end, e.last_error)
    from event e
    where e.unfinished
    union all
    select r.due_at, 2, r.consumer, 'is to do it: ' || r.state,
           concat_ws(', ', case when r.attempts > 0 then format('%s attempts', r.attempts) end, r.last_error)
    from received r
    where r.state in ('claimed', 'retrying', 'held')
)
select s.at, s.who, s.what, s.detail, false as pending
from (select * from steps s where s.at is not null order by s.at, s.place) s
union all
select p.due_at, p.who, p.what, p.detail, true
from (select * from pending p order by p.due_at nulls first, p.place) p
-- file: queries/outbox/writers.sql
-- Where the sequence stands, and which transactions may yet commit rows below that; no row if it stands at $1.
-- $1 bigint  where it stood before, or null
-- The sequence is read first, and must be: hence the last line within, which refers to it and keeps the locks from being
-- read before there is a value.
-- A writer holds its row-exclusive lock on the table before nextval gives it a seq, and gives the lock up only after
-- its rows have become visible. So once everyone seen here has ended, nothing at or below last_value can appear.
-- (A sequence that was never used says 1, too: without is_called the first row of a table would count as settled.)
-- (relay's own marking shows up as a writer too; it ends within milliseconds.)
select s.last_value,
       array(select distinct l.virtualtransaction
             from pg_locks l
             where l.locktype = 'relation' and l.relation = 'relay.outbox'::regclass
               and l.database = (select d.oid from pg_database d where d.datname = current_database())
               and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
               and s.last_value is not null
       ) as writers
from (
    select case when is_called then last_value else last_value - 1 end as last_value
    from relay.outbox_seq_seq
    offset 0
) s
where $1::bigint is distinct from s.last_value
-- file: queries/pauses/create.sql
-- Pauses something, writes down who did it, and tells the relays. What is paused in the same words stays as it is; and every
-- relay has all pauses in memory, so past 1,000 there is none to be had.
-- $1 text  scope             $2 text  exchange      $3 text  routing key, or pattern
-- $4 text  aggregate type    $5 text  aggregate id  (each null where the scope has none)
-- $6 text  actor             $7 text  note          $8 text  channel to notify
-- Returns the pause that was made, or the one that stands already; neither if there are too many.
with made as (
    insert into relay.pauses (scope, exchange, routing_key, aggregate_type, aggregate_id, actor, note)
    select $1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text
    where (select count(*) from relay.pauses) < 1000
    on conflict do nothing
    returning *
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $6, 'pause', jsonb_strip_nulls(to_jsonb(m) - '{since,actor,note}'::text[]), 1, $7::text from made m
)
select m.pause_id as made,
       (select p.pause_id
        from relay.pauses p
        where p.scope = $1 and p.exchange is not distinct from $2 and p.routing_key is not distinct from $3
          and p.aggregate_type is not distinct from $4 and p.aggregate_id is not distinct from $5) as standing,
       case when m.pause_id is not null then pg_notify($8, 'lanes')::text end as notified
from (select) as one
left join made m on true
-- file: queries/pauses/list.sql
-- What is paused, the oldest first. There are no more than 1,000; see create.sql.
select p.pause_id, p.scope, p.exchange, p.routing_key, p.aggregate_type, p.aggregate_id, p.since, p.actor, p.note
from relay.pauses p
order by p.pause_id
limit 1000
-- file: queries/pauses/resume.sql
-- Ends pauses, writes down who did it, an entry each, and tells the relays. The keys that waited are let go afterwards, by
-- held_keys/release_paused.sql: in batches, for there may be a million; by this statement they could not be, for it has one
-- snapshot, and a relay may be holding another key for a pause while this waits for it.
-- $1 bigint[]  pauses   $2 text  actor   $3 text  note   $4 text  channel to notify
with gone as (
    delete from relay.pauses p where p.pause_id = any ($1) returning *
), audited as (
    insert into relay.audit (actor, action, filter, affected, note)
    select $2, 'resume', jsonb_strip_nulls(to_jsonb(g) - '{since,actor,note}'::text[]), 1, $3::text
    from gone g
)
select count(*) as affected, case when count(*) > 0 then pg_notify($4, 'lanes')::text end as notified
from gone
-- file: queries/relays/leave.sql
-- This relay lives no longer: gives every lane back and tells the others.
-- $1 uuid this relay   $2 text channel to notify
with gone as (
    update relay.relays set expires_at = '-infinity' where relay_id = $1
), released as (
    update relay.lanes set owner = null, expires_at = '-infinity' where owner = $1 returning lane
)
select pg_notify($2, 'lanes'), count(*) from released
-- file: queries/relays/list.sql
-- Relays that said so within a day, the last heard from first.
select r.relay_id, r.name, r.version, r.started_at,
       extract(epoch from clock_timestamp() - r.seen_at)::double precision as seen_ago
from relay.relays r
order by r.seen_at desc
limit 100
-- file: queries/relays/not_left.sql
-- Relays that said within a day that they live, and not that they leave, the last heard from first: those that do, and those
-- that died.
select r.name, extract(epoch from clock_timestamp() - r.seen_at)::double precision as seen_ago
from relay.relays r
where r.expires_at is distinct from '-infinity'
order by r.seen_at desc
limit 100
-- file: queries/relays/register.sql
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
