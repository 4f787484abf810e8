-- How many numbers each session takes from the sequence of seq at a time: more than one, and a number says nothing of when
-- it was drawn. No row where seq has no sequence.
select seqcache from pg_sequence where seqrelid = pg_get_serial_sequence('relay.outbox', 'seq')::regclass
