-- Who may do what: one role per process, with what its statements need and no more. Roles are made by whoever owns the server
-- (`lens up --secure` does it for its private one); a role that is not there is passed over, and a server where all connect as
-- the owner needs none. `lens up` calls this again after every migration, since tables come later than this file.

create table loyalty.rights (
    role        text not null,
    schema      text not null,
    object      text not null,
    privileges  text not null,
    primary key (role, schema, object)
);
comment on table loyalty.rights is
    'What loyalty.grant_roles gives: to a role, on a table or view (*: all of the schema), these privileges.';

insert into loyalty.rights values
    -- accrue: the ledger is insert-only, also by right
    ('lens_accrue',  'loyalty',  'runs',       'select, insert'),
    ('lens_accrue',  'loyalty',  'partitions', 'select, insert, update'),
    ('lens_accrue',  'loyalty',  'postings',   'select, insert'),
    ('lens_accrue',  'loyalty',  'accounts',   'select, insert, update'),
    ('lens_accrue',  'loyalty',  'held',       'select, insert, delete'),
    ('lens_accrue',  'loyalty',  'dead',       'select, insert'),
    ('lens_accrue',  'loyalty',  'rules',      'select'),
    -- relay: reads what is committed, and says in one column how far it came
    ('lens_relay',   'loyalty',  'runs',       'select'),
    ('lens_relay',   'loyalty',  'partitions', 'select, update (relayed_upto)'),
    ('lens_relay',   'loyalty',  'postings',   'select'),
    ('lens_relay',   'loyalty',  'dead',       'select'),
    -- segment: its own schema, and the run that it belongs to
    ('lens_segment', 'loyalty',  'runs',       'select, insert'),
    ('lens_segment', 'segments', '*',          'select, insert, update, delete'),
    -- notify: its own schema; what is true now it knows from topics
    ('lens_notify',  'mail',     '*',          'select, insert, update, delete'),
    ('lens_notify',  'loyalty',  'runs',       'select, insert'),
    -- whoever only looks: analysts, dashboards. Letters hold addresses, so not those.
    ('lens_reader',  'loyalty',  '*',          'select'),
    ('lens_reader',  'segments', '*',          'select');

-- What is given on a partitioned table is given on each of its parts: the flush writes to those by name.
create function loyalty.grant_roles() returns int4 language plpgsql as $$
declare
    r record;
    granted int4 := 0;
begin
    lock table loyalty.rights in share row exclusive mode; -- two at once would change the same rows of the catalogue
    for r in select g.role, g.schema, o.object, g.privileges from loyalty.rights g
              cross join lateral (select g.object
                                   union all
                                  select c.relname::text from pg_catalog.pg_inherits i
                                    join pg_catalog.pg_class c on c.oid = i.inhrelid
                                   where i.inhparent = to_regclass(format('%I.%I', g.schema, g.object))) as o (object)
              where to_regrole(g.role) is not null and to_regnamespace(g.schema) is not null
                and (g.object = '*' or to_regclass(format('%I.%I', g.schema, o.object)) is not null)
              order by 1, 2, 3
    loop
        execute format('grant usage on schema %I to %I', r.schema, r.role);
        if r.object = '*' then
            execute format('grant %s on all tables in schema %I to %I', r.privileges, r.schema, r.role);
        else
            execute format('grant %s on %I.%I to %I', r.privileges, r.schema, r.object, r.role);
        end if;
        granted := granted + 1;
    end loop;
    return granted;
end
$$;
comment on function loyalty.grant_roles is 'Grants what loyalty.rights lists to the roles that are there. May be called again at any time.';

select loyalty.grant_roles();
