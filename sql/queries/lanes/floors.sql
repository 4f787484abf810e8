-- The floors left with the lanes of this relay that can be believed, and how the seqs are numbered now. One above the
-- sequence's value, or of another numbering, is from before somebody restarted the sequence. Where sessions draw seqs ahead
-- (a cache), a row may come below any floor.
-- $1 uuid this relay
select s.numbering, l.lane, l.token, l.floor
from (
    select case when q.is_called then q.last_value else q.last_value - 1 end as last_value,
           pg_relation_filenode('relay.outbox_seq_seq'::regclass)::bigint as numbering
    from relay.outbox_seq_seq q
    offset 0
) s
left join relay.lanes l
  on l.owner = $1 and l.numbering = s.numbering and l.floor <= s.last_value
     and exists (select from pg_sequence c where c.seqrelid = 'relay.outbox_seq_seq'::regclass and c.seqcache = 1)
order by l.lane
