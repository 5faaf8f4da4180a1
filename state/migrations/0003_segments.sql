-- Standing: where each customer stands, since when and why (DESIGN 6). lens-segment writes; whoever reads, reads these tables.
create schema if not exists segments;

create table segments.owner (
    run_id             int4 primary key,
    epoch              int8 not null,
    as_of_day          date,
    is_closed          bool not null default false,
    threshold_version  int4 not null default 0,
    next_change        int8 not null default 1,
    relayed_upto       int8 not null default 1,
    published_again    int8 not null default 0,
    settings           text not null default '',
    updated_at         timestamptz not null default now()
);
comment on table segments.owner is 'One row per run: whose it is, and how far it has come. Changed in the transaction that writes standing and changes.';
comment on column segments.owner.epoch is 'raised by every claim; a commit under an older one does nothing';
comment on column segments.owner.as_of_day is 'the day that is being reckoned with; null: no row has come yet';
comment on column segments.owner.is_closed is 'true: the thresholds of as_of_day are published';
comment on column segments.owner.next_change is 'change_no of the next change';
comment on column segments.owner.relayed_upto is 'changes below have reached the topic segment-changes (advisory: the topic itself knows)';
comment on column segments.owner.published_again is 'changes that stand twice in the topic at most, since Postgres had fallen back behind it';
comment on column segments.owner.settings is 'the settings that decide who is in what: another text has everybody looked at again';

create table segments.partitions (
    run_id         int4 not null,
    partition      int4 not null,
    next_offset    int8 not null,
    row_offset     int8 not null,
    row_seq        int4 not null,
    clock          timestamptz not null,
    clock_day      date,
    quiet_ticks    int4 not null,
    rows           int8 not null,
    ticks          int8 not null,
    repeated       int8 not null,
    anonymous      int8 not null,
    primary key (run_id, partition)
);
comment on table segments.partitions is 'The input of each partition of ledger that the standing holds.';
comment on column segments.partitions.next_offset is 'first record of the topic ledger that is not in';
comment on column segments.partitions.row_offset is '(row_offset, row_seq) of the last row that is in: a row at or below it is a repetition';
comment on column segments.partitions.clock is 'highest posted_at; by clock = log also of a TICK';
comment on column segments.partitions.clock_day is 'highest day of a row (clock = event) or of the clock (clock = log)';
comment on column segments.partitions.quiet_ticks is 'TICKs since the last row';

-- The state column is the whole of what is known (consumers/segment/standing.h); the others are what it comes to on as_of_day.
create table segments.customer_standing (
    run_id             int4 not null,
    customer_id        text not null,
    as_of_day          date not null,
    threshold_version  int4 not null,
    recency_days       int4,
    frequency          int4 not null,
    monetary_minor     int8 not null,
    r                  int4 not null,
    f                  int4 not null,
    m                  int4 not null,
    rfm_segment        text not null,
    points_balance     int8 not null,
    tier               text not null,
    tier_points        int8 not null,
    high_spender       bool not null,
    at_risk            bool not null,
    clv_potential      int4 not null,
    clv_trajectory     int4 not null,
    clv_engagement     int4 not null,
    clv_breadth        int4 not null,
    clv_points         int4 not null,
    last_day           date,
    first_day          date,
    change_count       int8 not null,
    state              bytea not null,
    primary key (run_id, customer_id)
) with (fillfactor = 50);
alter table segments.customer_standing alter column state set storage external;
comment on table segments.customer_standing is 'One row per customer, as of as_of_day. After a day is closed everybody''s is that day.';
comment on column segments.customer_standing.recency_days is 'days since the last sale whose net is positive; null: never';
comment on column segments.customer_standing.r is '1 to 5; 0: no sale in twelve months, no score';
comment on column segments.customer_standing.rfm_segment is 'by segments.rfm_map; empty: no score';
comment on column segments.customer_standing.tier_points is 'points of the last twelve months, by the sale''s day';
comment on column segments.customer_standing.clv_trajectory is 'contribution to clv_potential in thousandths; likewise the next three';

create table segments.thresholds (
    run_id           int4 not null,
    version          int4 not null,
    day              date not null,
    offsets          int8[] not null,
    customers        int8 not null,
    rated            int8 not null,
    base             int8 not null,
    k                int8 not null,
    threshold_minor  int8,
    members          int8 not null,
    r_cuts           int4[] not null,
    f_cuts           int4[] not null,
    m_cuts           int8[] not null,
    median_balance   int8 not null,
    categories       int4 not null,
    decided_at       timestamptz not null,
    primary key (run_id, version),
    unique (run_id, day)
);
comment on table segments.thresholds is 'One epoch per day, decided once, when the day was closed; never changed.';
comment on column segments.thresholds.offsets is 'per partition, from 0: the first offset of transactions.valid whose rows were not in';
comment on column segments.thresholds.rated is 'customers with a sale in twelve months: those whom the cuts are of';
comment on column segments.thresholds.base is 'customers with positive net spend in twelve months; k = ceil(base / 10)';
comment on column segments.thresholds.threshold_minor is 'the k-th largest net spend: whoever has it is a high spender; null: base is 0';
comment on column segments.thresholds.r_cuts is 'the values at ranks ceil(i * rated / 5), i = 1 to 4; empty: nobody is rated';
comment on column segments.thresholds.median_balance is 'the lower median of the positive balances; 0: there is none';

create table segments.categories (
    run_id    int4 not null,
    category  text not null,
    primary key (run_id, category)
);
comment on table segments.categories is 'Categories that were sold.';

create table segments.changes (
    run_id             int4 not null,
    change_no          int8 not null,
    change_id          text not null,
    customer_id        text not null,
    segment            text not null,
    kind               text not null,
    reason             text not null,
    sequence           int8 not null,
    effective_at       timestamptz not null,
    detected_at        timestamptz not null,
    as_of_day          date not null,
    threshold_version  int4 not null,
    recency_days       int4 not null,
    frequency          int4 not null,
    monetary_minor     int8 not null,
    r                  int4 not null,
    f                  int4 not null,
    m                  int4 not null,
    rfm_segment        text not null,
    points_balance     int8 not null,
    tier               text not null,
    clv_potential      int4 not null,
    primary key (run_id, change_no)
);
create unique index changes_customer on segments.changes (run_id, customer_id, sequence);
comment on table segments.changes is 'Who entered or left what, when and why: the rows that segment-changes carries, in this order.';
comment on column segments.changes.sequence is 'counts the customer''s changes from 1; change_id is derived of run, customer, segment and it';
comment on column segments.changes.as_of_day is 'the day that was being reckoned with';
comment on column segments.changes.recency_days is '-1: never bought';

create view segments.customer_segments as
select run_id, customer_id, segment, effective_at as since, reason, as_of_day, threshold_version
  from (select distinct on (run_id, customer_id, segment) *
          from segments.changes order by run_id, customer_id, segment, sequence desc) as last
 where kind = 'ENTERED';
comment on view segments.customer_segments is 'Who is in what now, since when, and why.';

create function segments.members(run int4, day date)
    returns table (customer_id text, segment text, since timestamptz, reason text, sequence int8) language sql stable as $$
select customer_id, segment, effective_at, reason, sequence
  from (select distinct on (c.customer_id, c.segment) c.*
          from segments.changes c where c.run_id = run and c.as_of_day <= day
         order by c.customer_id, c.segment, c.sequence desc) as last
 where kind = 'ENTERED'
$$;
comment on function segments.members is 'Who was in what as of a day.';

create table segments.rfm_map (
    r     int4 not null,
    f     int4 not null,
    m     int4 not null,
    name  text not null,
    primary key (r, f, m)
);
insert into segments.rfm_map
select r, f, m,
       (array[['LOST',          'HIBERNATING',        'HIBERNATING',        'CANNOT_LOSE', 'CANNOT_LOSE'],
              ['ABOUT_TO_SLEEP', 'ABOUT_TO_SLEEP',    'NEEDS_ATTENTION',    'SLIPPING',    'SLIPPING'],
              ['ABOUT_TO_SLEEP', 'NEEDS_ATTENTION',   'NEEDS_ATTENTION',    'LOYAL',       'LOYAL'],
              ['PROMISING',     'POTENTIAL_LOYALIST', 'LOYAL',              'LOYAL',       'CHAMPION'],
              ['NEW_CUSTOMER',  'POTENTIAL_LOYALIST', 'POTENTIAL_LOYALIST', 'CHAMPION',    'CHAMPION']])[r][(f + m + 1) / 2]
  from generate_series(1, 5) as r, generate_series(1, 5) as f, generate_series(1, 5) as m;
comment on table segments.rfm_map is 'The name of each of the 125 cells of scores; the same map as consumers/segment/rfm_map.h.';
