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
