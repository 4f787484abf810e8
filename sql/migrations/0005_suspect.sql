-- Whether the row is to be tried apart from others: it closed a channel, or may have.
alter table relay.outbox add column suspect boolean not null default false;

-- A role that may run relay may change it, as it may the others.
do $block$
declare
    grantee text;
begin
    for grantee in
        select acl.grantee::regrole
        from pg_attribute a, aclexplode(a.attacl) acl
        where a.attrelid = 'relay.outbox'::regclass and a.attname = 'last_error'
          and acl.privilege_type = 'UPDATE' and acl.grantee <> 0
    loop
        execute format('grant update (suspect) on relay.outbox to %s', grantee);
    end loop;
end
$block$;
