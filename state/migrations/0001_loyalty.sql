-- The authority: what every partition of transactions.valid has come to (DESIGN 5).
-- run_id is part of every key: a replay writes beside the run that it is compared with.
-- Read loyalty_ledger, loyalty_accounts and ledger_by_category; the tables are laid out for the flush.

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

-- Wide columns first: no byte is lost to alignment. What mostly equals another column is null then, and costs nothing.
create table loyalty.ledger (
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
    raw_topic       text,
    products        text[] not null,
    amounts_minor   int8[] not null,
    categories      text[],
    promotions      text[],
    excess_minor    int8[],
    rule_ids        int4[],
    rule_points     int8[],
    warnings        text[],
    primary key (run_id, partition, "offset", seq)
);
create index ledger_identity on loyalty.ledger (identity_hash);
create index ledger_sale on loyalty.ledger (sale_hash) where sale_hash is not null;
comment on table loyalty.ledger is
    'One row per accepted event, also with 0 points. Rows are never changed; a correction is a new row. Read loyalty_ledger.';
comment on column loyalty.ledger."offset" is 'of the record in transactions.valid that caused the row';
comment on column loyalty.ledger.seq is '0, or 1 and up for held returns that this record released';
comment on column loyalty.ledger.event_offset is 'of the record that carried the event; null: "offset"';
comment on column loyalty.ledger.identity_hash is 'of (source, type, transaction_id)';
comment on column loyalty.ledger.content_hash is 'of what was accepted: the same identity with another one is a conflict';
comment on column loyalty.ledger.sale_hash is 'identity_hash of the sale that a return or void belongs to; null: identity_hash';
comment on column loyalty.ledger.type is 'S sale, R return, V void';
comment on column loyalty.ledger.sale_id is 'transaction_id of the sale that a return or void names';
comment on column loyalty.ledger.customer_id is 'null: unidentified spend';
comment on column loyalty.ledger.net_minor is 'sum of amounts_minor: minor units of the run''s currency, negative when given back';
comment on column loyalty.ledger.sale_day is 'day that it is booked to: its sale''s, in the program''s time zone';
comment on column loyalty.ledger.points is 'what the event changed: the sale''s target less what was already posted';
comment on column loyalty.ledger.rules_version is 'pinned by the sale; 0: no rule set was in force';
comment on column loyalty.ledger.posted_at is 'the partition''s clock at the record that caused the row';
comment on column loyalty.ledger.excess_minor is 'by line: returned beyond what the sale holds; null: none';
comment on column loyalty.ledger.categories is 'by line; null: none is known';
comment on column loyalty.ledger.promotions is 'by line; null: none';
comment on column loyalty.ledger.rule_points is 'by rule_ids: what each rule gave; sums to points';
comment on column loyalty.ledger.raw_topic is 'topic of the raw record; null: transactions';
comment on column loyalty.ledger.raw_partition is 'partition of the raw record; null: partition';

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
    primary key (run_id, partition, customer_id)
) with (fillfactor = 70);
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
create trigger ledger_is_insert_only before update or delete or truncate on loyalty.ledger
    for each statement execute function loyalty.refuse_change();
create trigger rules_are_insert_only before update or delete or truncate on loyalty.rules
    for each statement execute function loyalty.refuse_change();

create view loyalty.loyalty_ledger as
select run_id, partition, "offset", seq,
       case type when 'S' then 'SALE' when 'R' then 'RETURN' when 'V' then 'VOID' end as type,
       customer_id, transaction_id, sale_id, store_id, source,
       points, net_minor, sale_day, event_time, posted_at, rules_version,
       products, categories, promotions, amounts_minor, excess_minor, rule_ids, rule_points, warnings,
       identity_hash, content_hash, coalesce(sale_hash, identity_hash) as sale_hash,
       coalesce(event_offset, "offset") as event_offset,
       coalesce(raw_topic, 'transactions') as raw_topic, coalesce(raw_partition, partition) as raw_partition, raw_offset
  from loyalty.ledger;
comment on view loyalty.loyalty_ledger is 'The ledger with every column spelled out.';

create view loyalty.ledger_lines as
select l.run_id, l.partition, l."offset", l.seq, l.customer_id, l.store_id, l.sale_day, l.event_time,
       n.line, n.product_id, l.categories[n.line] as category, l.promotions[n.line] as promotion_id,
       l.amounts_minor[n.line] as net_minor, coalesce(l.excess_minor[n.line], 0) as excess_minor
  from loyalty.ledger l
 cross join lateral unnest(l.products) with ordinality as n (product_id, line);
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
