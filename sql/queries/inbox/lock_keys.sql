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
