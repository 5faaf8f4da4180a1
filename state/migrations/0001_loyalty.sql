-- The authority: what every partition of transactions.valid has come to (DESIGN 5).
-- run_id is part of every key: a replay writes beside the run that it is compared with.
-- Read the views ledger, ledger_lines, ledger_by_category and loyalty_accounts; the tables are laid out for the flush.

create table loyalty.runs (
    run_id      int4 primary key,
    program     text not null,
    partitions  int4 not null check (partitions > 0),
    currency    text not null,
    time_zone   text not null,
    created_at  timestamptz not null default now()
);
comment on table loyalty.runs is
    'One row per run. State lies per partition, money in one currency and days in one zone: a start with others is refused.';

create table loyalty.partitions (
    run_id         int4 not null,
    partition      int4 not null,
    epoch          int8 not null,
    next_offset    int8 not null,
    clock          timestamptz not null,
    rules_version  int4 not null,
    read_count     int8 not null default 0,
    credited       int8 not null default 0,
    duplicate      int8 not null default 0,
    dead           int8 not null default 0,
    held           int8 not null default 0,
    control        int8 not null default 0,
    relayed_upto   int8 not null default 0,
    updated_at     timestamptz not null default now(),
    primary key (run_id, partition)
) with (fillfactor = 20);
comment on table loyalty.partitions is
    'The watermark of each partition, changed in the transaction that writes its rows. read_count = credited + duplicate + dead + held + control.';
comment on column loyalty.partitions.epoch is 'raised by every claim; a flush under an older one does nothing';
comment on column loyalty.partitions.next_offset is 'first offset of transactions.valid that is not in the ledger yet';
comment on column loyalty.partitions.clock is 'highest record timestamp seen: the only clock that decides';
comment on column loyalty.partitions.rules_version is 'highest rule set announced in the partition so far; 0: none';
comment on column loyalty.partitions.held is 'returns that wait for their sale now';
comment on column loyalty.partitions.relayed_upto is 'rows below this offset have reached the topics ledger and dead-letter';

-- What every credited event costs, so laid out for the flush: wide columns first (nothing is lost to alignment), null where a
-- column equals another one, lines and rules as text that split_part takes apart (arrays cost 0.7 us a row
-- more, a btree on the hash 0.8 us). There is no index by customer (1 to 2 us a row): the events of one customer lie in
-- one partition. Read the view `ledger`.
-- Each source partition of a run has a table of its own, postings_<run>_<partition> (and accounts_<run>_<partition>), made when
-- it is first claimed: indexes as small as that stay in the processor's caches while one partition's rows are written, and two
-- connections that write side by side wait for no page of one another's.
create table loyalty.postings (
    "offset"        int8 not null,
    identity_hash   int8 not null,
    content_hash    int8 not null,
    net_minor       int8 not null,
    points          int8 not null,
    event_time      timestamptz not null,
    posted_at       timestamptz not null,
    raw_offset      int8 not null,
    event_offset    int8,
    sale_hash       int8,
    run_id          int4 not null,
    partition       int4 not null,
    seq             int4 not null,
    sale_day        date not null,
    rules_version   int4 not null,
    raw_partition   int4,
    type            "char" not null,
    source          text not null,
    transaction_id  text not null,
    sale_id         text,
    customer_id     text,
    store_id        text,
    lines           text not null,
    rules           text,
    warnings        text,
    raw_topic       text,
    primary key ("offset", seq, run_id, partition)
) partition by range (run_id, partition);
create index postings_identity on loyalty.postings using hash (identity_hash);
create index postings_sale on loyalty.postings using hash (sale_hash) where sale_hash is not null;
comment on table loyalty.postings is
    'One row per accepted event, also with 0 points. Rows are never changed; a correction is a new row. Read loyalty.ledger.';
comment on column loyalty.postings."offset" is 'of the record in transactions.valid that caused the row';
comment on column loyalty.postings.seq is '0, or 1 and up for held returns that this record released';
comment on column loyalty.postings.event_offset is 'of the record that carried the event; null: "offset"';
comment on column loyalty.postings.identity_hash is 'of (source, type, transaction_id)';
comment on column loyalty.postings.content_hash is 'of what was accepted: the same identity with another one is a conflict';
comment on column loyalty.postings.sale_hash is 'identity_hash of the sale that a return or void belongs to; null: identity_hash';
comment on column loyalty.postings.type is 'S sale, R return, V void';
comment on column loyalty.postings.sale_id is 'transaction_id of the sale that a return or void names';
comment on column loyalty.postings.customer_id is 'null: unidentified spend';
comment on column loyalty.postings.net_minor is 'sum of the lines: minor units of the run''s currency, negative when given back';
comment on column loyalty.postings.sale_day is 'day that it is booked to: its sale''s, in the program''s time zone';
comment on column loyalty.postings.points is 'what the event changed: the sale''s target less what was already posted';
comment on column loyalty.postings.rules_version is 'pinned by the sale; 0: no rule set was in force';
comment on column loyalty.postings.posted_at is 'the partition''s clock at the record that caused the row';
comment on column loyalty.postings.lines is
    'a line each: product TAB category TAB promotion TAB net_minor [TAB returned beyond what the sale holds]; empty: null';
comment on column loyalty.postings.rules is 'rule_id:points, by blanks: what each rule gave; sums to points; null: none';
comment on column loyalty.postings.warnings is 'codes, by commas: `lens explain CODE`; null: none';
comment on column loyalty.postings.raw_topic is 'topic of the raw record; null: transactions';
comment on column loyalty.postings.raw_partition is 'partition of the raw record; null: partition';

create table loyalty.accounts (
    points_balance   int8 not null,
    points_earned    int8 not null,
    points_reversed  int8 not null,
    net_minor        int8 not null,
    postings         int8 not null,
    last_event_at    timestamptz not null,
    run_id           int4 not null,
    partition        int4 not null,
    customer_id      text not null,
    primary key (customer_id, run_id, partition)
) partition by range (run_id, partition);
comment on table loyalty.accounts is
    'The fold of the ledger by customer, changed in the transaction that writes the rows. points_balance = earned - reversed.';

create table loyalty.held (
    run_id            int4 not null,
    partition         int4 not null,
    "offset"          int8 not null,
    record_time       timestamptz not null,
    held_since        timestamptz not null,
    identity_hash     int8 not null,
    content_hash      int8 not null,
    sale_hash         int8 not null,
    source            text,
    transaction_id    text,
    key               bytea,
    value             bytea,
    headers           bytea,
    raw_topic         text,
    raw_partition     int4 not null,
    raw_offset        int8 not null,
    primary key (run_id, partition, "offset")
);
comment on table loyalty.held is 'Returns that came before their sale, whole, until it comes or their time is over.';
comment on column loyalty.held.held_since is 'the partition''s clock when it was held';

create table loyalty.dead (
    run_id            int4 not null,
    partition         int4 not null,
    "offset"          int8 not null,
    seq               int4 not null,
    event_offset      int8 not null,
    record_time       timestamptz not null,
    refused_at        timestamptz not null,
    identity_hash     int8 not null,
    content_hash      int8 not null,
    sale_hash         int8 not null,
    source            text,
    transaction_id    text,
    codes             text[] not null,
    message           text,
    key               bytea,
    value             bytea,
    headers           bytea,
    raw_topic         text,
    raw_partition     int4 not null,
    raw_offset        int8 not null,
    primary key (run_id, partition, "offset", seq)
);
comment on table loyalty.dead is
    'Records that accrue refused, whole, in the order in which the relay carries them to the topic dead-letter.';
comment on column loyalty.dead."offset" is 'of the record that caused the refusal (an expiry: the one that moved the clock)';
comment on column loyalty.dead.event_offset is 'of the record that was refused';
comment on column loyalty.dead.codes is 'why: `lens explain CODE`';
comment on column loyalty.dead.headers is '(u32 size, name, u32 size or -1, value) repeated, big-endian';

create table loyalty.rules (
    version         int4 primary key check (version > 0),
    effective_from  timestamptz not null,
    document        text not null,
    sha256          text not null,
    published_at    timestamptz not null default now()
);
comment on table loyalty.rules is
    'Rule sets, insert-only: a version means the same for ever, or a replay would decide otherwise.';

create function loyalty.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'rows of %.% are never changed', tg_table_schema, tg_table_name
        using errcode = 'restrict_violation', hint = 'A correction is a new row.';
end
$$;
create trigger postings_are_insert_only before update or delete or truncate on loyalty.postings
    for each statement execute function loyalty.refuse_change();

-- Half of each page of accounts is left for the next version of its rows: a catch-up flush touches most of them, and an update
-- that finds no room costs an index entry too (twice as much).
-- By the owner's right: who claims a partition may not make tables.
create function loyalty.open_partition() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
declare
    suffix text := format('%s_%s', new.run_id, new.partition);
    bounds text := format('from (%s, %s) to (%s, %s)', new.run_id, new.partition, new.run_id, new.partition + 1);
begin
    lock table loyalty.postings in share update exclusive mode; -- one at a time; flushes and readers go on
    execute format('create table loyalty.%I (like loyalty.postings including all)', 'postings_' || suffix);
    execute format('alter table loyalty.postings attach partition loyalty.%I for values %s', 'postings_' || suffix, bounds);
    execute format('create trigger postings_are_insert_only before update or delete or truncate on loyalty.%I'
                   ' for each statement execute function loyalty.refuse_change()', 'postings_' || suffix);
    execute format('create table loyalty.%I (like loyalty.accounts including all) with (fillfactor = 50)',
                   'accounts_' || suffix);
    execute format('alter table loyalty.accounts attach partition loyalty.%I for values %s', 'accounts_' || suffix, bounds);
    perform loyalty.grant_roles();
    return null;
end
$$;
comment on function loyalty.open_partition is 'Makes the tables that hold the postings and accounts of one partition of one run.';
create trigger partitions_have_tables after insert on loyalty.partitions
    for each row execute function loyalty.open_partition();
create trigger rules_are_insert_only before update or delete or truncate on loyalty.rules
    for each statement execute function loyalty.refuse_change();

create function loyalty.line_texts(lines text, field int4) returns text[]
    language sql immutable strict parallel safe
    return array(select nullif(split_part(line, E'\t', field), '')
                   from string_to_table(lines, E'\n') with ordinality as l (line, n) order by n);
create function loyalty.line_amounts(lines text, field int4) returns int8[]
    language sql immutable strict parallel safe
    return array(select coalesce(nullif(split_part(line, E'\t', field), '')::int8, 0)
                   from string_to_table(lines, E'\n') with ordinality as l (line, n) order by n);
create function loyalty.rule_values(rules text, field int4) returns int8[]
    language sql immutable strict parallel safe
    return array(select split_part(rule, ':', field)::int8
                   from string_to_table(rules, ' ') with ordinality as r (rule, n) order by n);

create view loyalty.ledger as
select run_id, partition, "offset", seq, type, customer_id, transaction_id, sale_id, store_id, source,
       points, net_minor, sale_day, event_time, posted_at, rules_version,
       loyalty.line_texts(lines, 1) as products, loyalty.line_texts(lines, 2) as categories,
       loyalty.line_texts(lines, 3) as promotions, loyalty.line_amounts(lines, 4) as amounts_minor,
       loyalty.line_amounts(lines, 5) as excess_minor,
       loyalty.rule_values(rules, 1)::int4[] as rule_ids, loyalty.rule_values(rules, 2) as rule_points,
       string_to_array(warnings, ',') as warnings,
       identity_hash, content_hash, coalesce(sale_hash, identity_hash) as sale_hash,
       coalesce(event_offset, "offset") as event_offset,
       coalesce(raw_topic, 'transactions') as raw_topic, coalesce(raw_partition, partition) as raw_partition, raw_offset
  from loyalty.postings;
comment on view loyalty.ledger is 'The postings with every column spelled out; lines and rules as arrays.';

create view loyalty.loyalty_ledger as
select run_id, partition, "offset", seq,
       case type when 'S' then 'SALE' when 'R' then 'RETURN' when 'V' then 'VOID' end as type,
       customer_id, transaction_id, sale_id, store_id, source, points, net_minor, sale_day, event_time, posted_at,
       rules_version, lines, rules, warnings
  from loyalty.postings;
comment on view loyalty.loyalty_ledger is 'The ledger as people read it.';

create view loyalty.ledger_lines as
select p.run_id, p.partition, p."offset", p.seq, p.customer_id, p.store_id, p.sale_day, p.event_time, l.line,
       nullif(split_part(l.fields, E'\t', 1), '') as product_id,
       nullif(split_part(l.fields, E'\t', 2), '') as category,
       nullif(split_part(l.fields, E'\t', 3), '') as promotion_id,
       split_part(l.fields, E'\t', 4)::int8 as net_minor,
       coalesce(nullif(split_part(l.fields, E'\t', 5), '')::int8, 0) as excess_minor
  from loyalty.postings p
 cross join lateral string_to_table(p.lines, E'\n') with ordinality as l (fields, line)
 where p.lines <> '';
comment on view loyalty.ledger_lines is 'The ledger by line.';

create view loyalty.ledger_by_category as
select run_id, partition, "offset", seq, customer_id, store_id, sale_day, event_time, category,
       sum(net_minor)::int8 as net_minor
  from loyalty.ledger_lines
 group by run_id, partition, "offset", seq, customer_id, store_id, sale_day, event_time, category;
comment on view loyalty.ledger_by_category is 'The ledger by row and category; null: not known.';

create view loyalty.loyalty_accounts as
select run_id, partition, customer_id, points_balance, greatest(points_balance, 0) as points_spendable,
       points_earned, points_reversed, net_minor, postings, last_event_at
  from loyalty.accounts;
comment on view loyalty.loyalty_accounts is 'One row per customer; what may be spent is never below zero.';
