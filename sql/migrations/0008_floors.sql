-- How far each lane is done: no row of it at or below its floor is ready, and none ever will be; its next owner begins to
-- look there. Of which numbering its seqs are: the file of the sequence, which is another one after a restart of it. Null:
-- nobody knows, and whoever owns the lane begins at the first row. An older relay neither reads nor writes this, and does
-- nothing that makes it untrue.
alter table relay.lanes add column floor bigint;
alter table relay.lanes add column numbering bigint;

-- A role that may run relay may change them, as it may the others.
do $block$
declare
    grantee text;
begin
    for grantee in
        select acl.grantee::regrole
        from pg_attribute a, aclexplode(a.attacl) acl
        where a.attrelid = 'relay.lanes'::regclass and a.attname = 'expires_at'
          and acl.privilege_type = 'UPDATE' and acl.grantee <> 0
    loop
        execute format('grant update (floor, numbering) on relay.lanes to %s', grantee);
    end loop;
end
$block$;
