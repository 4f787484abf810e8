-- Whether any of these messages has an unfinished one of its key before it.
-- $1 text  consumer   $2 text[]  aggregate types   $3 text[]  aggregate ids   $4 bigint[]  seqs
select exists (
    select
    from unnest($2::text[], $3::text[], $4::bigint[]) as m (aggregate_type, aggregate_id, seq)
    join relay.inbox i
      on i.consumer = $1 and i.aggregate_type = m.aggregate_type and i.aggregate_id = m.aggregate_id and i.seq < m.seq
     and i.state in ('claimed', 'retrying', 'held')
) as behind
