-- Standing by batch: what `segment` keeps up to date row by row, computed for any day from the ledger alone (DESIGN 6).
-- Nothing here reads what `segment` wrote. Two programs that share no code must give the same numbers: tests/e2e compares
-- them customer by customer, and a third one in Python.
--
-- as_of    a calendar day of the program's time zone.
-- run      whose ledger.
-- upto     null: the rows whose event lies on as_of or before. Else for each partition the first offset that does not count: what
--          a process had seen when it closed the day, late rows and all.
-- settings what differs from segments.batch_settings().
--
-- jit is off: these are large plans over few rows, and compiling them has taken forty seconds where running them takes one.
--
-- Doubles appear in the potential alone. Their operations stand in one order, here, in C and in Python, so that not even the
-- last bit differs; they end as integers, half up.
create schema if not exists segments;

create function segments.batch_settings(settings jsonb default '{}') returns jsonb
    language sql immutable parallel safe
    return '{"at_risk_days": 30, "high_spender_percent": 10, "silver_points": 500, "gold_points": 2000,
             "clv_trajectory": 10, "clv_engagement": 45, "clv_breadth": 25, "clv_points": 20,
             "gate_days": 30, "gate_half_days": 120}'::jsonb || coalesce(settings, '{}');
comment on function segments.batch_settings is 'The settings of lens.conf that standing depends on, at their defaults but for those given.';

create function segments.year_before(day date) returns date
    language sql immutable strict parallel safe
    return (day - interval '12 months')::date;
comment on function segments.year_before is 'The last day that is out of the window: 29 February has 28 February before it.';

create function segments.rfm_name(recency_score int4, frequency_score int4, monetary_score int4) returns text
    language sql immutable strict parallel safe
    return case when recency_score = 0 then 'NONE' else (array[
        ['LOST',           'HIBERNATING',        'HIBERNATING',        'CANNOT_LOSE', 'CANNOT_LOSE'],
        ['ABOUT_TO_SLEEP', 'ABOUT_TO_SLEEP',     'NEEDS_ATTENTION',    'SLIPPING',    'SLIPPING'],
        ['ABOUT_TO_SLEEP', 'NEEDS_ATTENTION',    'NEEDS_ATTENTION',    'LOYAL',       'LOYAL'],
        ['PROMISING',      'POTENTIAL_LOYALIST', 'LOYAL',              'LOYAL',       'CHAMPION'],
        ['NEW_CUSTOMER',   'POTENTIAL_LOYALIST', 'POTENTIAL_LOYALIST', 'CHAMPION',    'CHAMPION']
        ])[recency_score][(frequency_score + monetary_score + 1) / 2] end;
comment on function segments.rfm_name is
    'The named segment of a cell: by recency, and the mean of frequency and monetary, rounded up. NONE: no sale in the window.';

create function segments.half_up(value float8) returns int8
    language sql immutable strict parallel safe
    return floor(value + 0.5)::int8;

create function segments.batch_rows(as_of date, run int4 default 1, upto int8[] default null)
returns table (partition int4, "offset" int8, seq int4, type "char", customer_id text, points int8, net_minor int8,
               sale int8, sale_day date, event_day date, lines text)
language sql stable parallel safe as $$
    select p.partition, p."offset", p.seq, p.type, p.customer_id, p.points, p.net_minor,
           coalesce(p.sale_hash, p.identity_hash), p.sale_day, (p.event_time at time zone r.time_zone)::date, p.lines
      from loyalty.postings p join loyalty.runs r on r.run_id = p.run_id
     where p.run_id = run
       and case when upto is null then p.event_time < ((as_of + 1)::timestamp at time zone r.time_zone)
                else p."offset" < upto[p.partition + 1] end
$$;
comment on function segments.batch_rows is 'The ledger rows that count, of everybody. sale: what a sale and its returns have in common.';

-- Points of the window as they stood at each moment since the last review: the tier goes up at the highest of them.
create function segments.batch_tier_points(as_of date, run int4 default 1, upto int8[] default null)
returns table (customer_id text, points_now int8, points_high int8)
language sql stable parallel safe set jit = off as $$
    with rows as materialized (
        select customer_id, partition, "offset", seq, points, sale_day,
               least(as_of, max(event_day) over (partition by partition order by "offset", seq)) as clock_day
          from segments.batch_rows(as_of, run, upto)
    ), days as materialized (
        select day::date, segments.year_before(day::date) as gone
          from generate_series(date_trunc('month', as_of::timestamp), as_of::timestamp, interval '1 day') as day
    ), review as (
        select min(day) as day, min(gone) as gone from days
    ), steps as (
        -- what the review found
        select r.customer_id, v.day, 0 as kind, 0::int8 as "offset", 0 as seq,
               coalesce(sum(r.points) filter (where r.clock_day < v.day and r.sale_day > v.gone), 0)::int8 as points
          from rows r cross join review v
         where r.customer_id is not null
         group by r.customer_id, v.day
        union all
        -- days that have left the window since, each as one step
        select r.customer_id, d.day, 1, 0, 0, -sum(r.points)::int8
          from rows r
          cross join review v
          cross join lateral (select min(day) as day from days where gone >= r.sale_day) as d
         where r.customer_id is not null and r.sale_day > v.gone and d.day is not null and r.clock_day < d.day
         group by r.customer_id, d.day
        union all
        -- rows since
        select r.customer_id, r.clock_day, 2, r."offset", r.seq, r.points
          from rows r cross join review v
         where r.customer_id is not null and r.clock_day >= v.day and r.sale_day > segments.year_before(r.clock_day)
    ), running as (
        select customer_id, sum(points) over (partition by customer_id order by day, kind, "offset", seq) as points from steps
    )
    select h.customer_id, coalesce(n.points, 0)::int8, h.points::int8
      from (select customer_id, max(points) as points from running group by customer_id) as h
      left join (select customer_id, sum(points) as points from rows
                  where sale_day > segments.year_before(as_of) and sale_day <= as_of
                  group by customer_id) as n using (customer_id)
$$;
comment on function segments.batch_tier_points is
    'Points booked within the 12 months: now, and the most that they came to since the last review (the first of the month).';

-- What each customer did, before anybody is compared with anybody.
create function segments.batch_facts(as_of date, run int4 default 1, upto int8[] default null)
returns table (customer_id text, purchases int8, returns int8, points_earned int8, points_reversed int8, points_balance int8,
               first_purchase date, last_purchase date, recency_days int4, frequency int8, monetary_minor int8,
               recent_minor int8, recent_count int8, prior_minor int8, prior_count int8, weeks_active int4, weeks int4,
               category_minor int8, category_entropy float8)
language sql stable parallel safe set jit = off as $$
    with rows as materialized (
        select * from segments.batch_rows(as_of, run, upto) where customer_id is not null
    ), totals as (
        select customer_id, count(*) filter (where type = 'S') as purchases, count(*) filter (where type <> 'S') as returns,
               coalesce(sum(points) filter (where points > 0), 0)::int8 as points_earned,
               coalesce(-sum(points) filter (where points < 0), 0)::int8 as points_reversed,
               sum(points)::int8 as points_balance
          from rows group by customer_id
    ), sales as (
        -- a sale and the returns that name it are booked to one day; a return that names none is not a sale
        select customer_id, sale_day as day, sum(net_minor) as net_minor, bool_or(type = 'S') as sold,
               bool_or(type = 'S') and sum(net_minor) > 0 as kept
          from rows where sale_day <= as_of group by customer_id, sale_day, sale
    ), days as materialized (
        select customer_id, day, as_of - day as age, sum(net_minor)::int8 as net_minor, bool_or(sold) as sold,
               count(*) filter (where kept) as sales
          from sales group by customer_id, day
    ), spans as (
        select customer_id,
               min(day) filter (where sold) as first_purchase, max(day) filter (where sales > 0) as last_purchase,
               coalesce(sum(sales) filter (where day > segments.year_before(as_of)), 0)::int8 as frequency,
               coalesce(sum(net_minor) filter (where day > segments.year_before(as_of)), 0)::int8 as monetary_minor,
               coalesce(sum(net_minor) filter (where age < 90), 0)::int8 as recent_minor,
               coalesce(sum(sales) filter (where age < 90), 0)::int8 as recent_count,
               coalesce(sum(net_minor) filter (where age between 90 and 364), 0)::int8 as prior_minor,
               coalesce(sum(sales) filter (where age between 90 and 364), 0)::int8 as prior_count,
               count(distinct age / 7) filter (where sales > 0 and age < 26 * 7)::int4 as weeks_active
          from days group by customer_id
    ), spend as (
        select r.customer_id, l.category, sum(l.net_minor) as net_minor
          from rows r
          cross join lateral (select nullif(split_part(line, E'\t', 2), '') collate "C" as category,
                                     split_part(line, E'\t', 4)::int8 as net_minor
                                from string_to_table(r.lines, E'\n') as line) as l
         where r.lines <> '' and l.category is not null
         group by r.customer_id, l.category having sum(l.net_minor) > 0
    ), shares as (
        select customer_id, category, net_minor, sum(net_minor) over (partition by customer_id) as whole from spend
    ), breadth as (
        select customer_id, max(whole)::int8 as category_minor,
               sum(-(net_minor::float8 / whole::float8 * ln(net_minor::float8 / whole::float8)) order by category)
                   as category_entropy
          from shares group by customer_id
    )
    select t.customer_id, t.purchases, t.returns, t.points_earned, t.points_reversed, t.points_balance,
           s.first_purchase, s.last_purchase, as_of - s.last_purchase, coalesce(s.frequency, 0), coalesce(s.monetary_minor, 0),
           coalesce(s.recent_minor, 0), coalesce(s.recent_count, 0), coalesce(s.prior_minor, 0), coalesce(s.prior_count, 0),
           coalesce(s.weeks_active, 0), coalesce(least(26, (as_of - s.first_purchase) / 7 + 1), 0),
           coalesce(b.category_minor, 0), coalesce(b.category_entropy, 0)
      from totals t left join spans s using (customer_id) left join breadth b using (customer_id)
$$;
comment on function segments.batch_facts is
    'Per customer with a ledger row: recency, frequency, spend, and what the potential is made of. recency_days null: never bought.';

-- Against whom each is measured. A cut is the last value of its fifth: equal values are never parted.
create function segments.batch_thresholds(as_of date, run int4 default 1, upto int8[] default null, settings jsonb default null)
returns table (day date, customers int8, rated int8, recency_cuts int8[], frequency_cuts int8[], monetary_cuts int8[],
               base int8, k int8, threshold_minor int8, categories int8, median_balance int8)
language sql stable parallel safe set jit = off as $$
    with sorted as (
        select count(*) as customers,
               count(*) filter (where frequency > 0) as rated,
               array_agg(recency_days::int8 order by recency_days) filter (where frequency > 0) as recency,
               array_agg(frequency order by frequency) filter (where frequency > 0) as frequency,
               array_agg(monetary_minor order by monetary_minor) filter (where frequency > 0) as monetary,
               count(*) filter (where monetary_minor > 0) as base,
               array_agg(monetary_minor order by monetary_minor desc) filter (where monetary_minor > 0) as spends,
               count(*) filter (where points_balance > 0) as in_credit,
               array_agg(points_balance order by points_balance) filter (where points_balance > 0) as balances
          from segments.batch_facts(as_of, run, upto)
    ), ranks as (
        select *, (base * (segments.batch_settings(settings) ->> 'high_spender_percent')::int8 + 99) / 100 as k from sorted
    )
    select as_of, customers, rated,
           case when rated > 0 then array(select recency[(i * rated + 4) / 5] from generate_series(1, 4) as i order by i) end,
           case when rated > 0 then array(select frequency[(i * rated + 4) / 5] from generate_series(1, 4) as i order by i) end,
           case when rated > 0 then array(select monetary[(i * rated + 4) / 5] from generate_series(1, 4) as i order by i) end,
           base, k, spends[k],
           (select count(distinct split_part(line, E'\t', 2))
              from segments.batch_rows(as_of, run, upto) as r cross join lateral string_to_table(r.lines, E'\n') as line
             where r.type = 'S' and split_part(line, E'\t', 2) <> ''),
           coalesce(balances[(in_credit + 1) / 2], 0)
      from ranks
$$;
comment on function segments.batch_thresholds is
    'The cuts of the fifths, the high spenders'' threshold (the k-th largest spend of base customers), and what the potential is scaled to.';

-- 0 .. 1 each; 0 for who has not bought in the window.
create function segments.batch_clv(as_of date, run int4 default 1, upto int8[] default null, settings jsonb default null)
returns table (customer_id text, trajectory float8, engagement float8, breadth float8, points float8, gate float8,
               trajectory_milli int8, engagement_milli int8, breadth_milli int8, points_milli int8, potential int4)
language sql stable parallel safe set jit = off as $$
    with scale as materialized (
        select least(8, categories)::float8 as categories, (10 * median_balance)::float8 as balance, s.*
          from segments.batch_thresholds(as_of, run, upto, settings),
               jsonb_to_record(segments.batch_settings(settings)) as s
                   (clv_trajectory float8, clv_engagement float8, clv_breadth float8, clv_points float8,
                    gate_days int4, gate_half_days float8)
    ), visits as (
        -- (S + 2A)/(n + 2) of both spans, times what they have in common
        select f.*,
               (recent_minor * frequency + 2 * greatest(monetary_minor, 0))::float8 * (prior_count + 2)::float8 as recent,
               (prior_minor * frequency + 2 * greatest(monetary_minor, 0))::float8 * (recent_count + 2)::float8 as prior
          from segments.batch_facts(as_of, run, upto) as f
    ), ratios as (
        -- logistic(4 ln ratio) = ratio^4 / (1 + ratio^4), from the smaller over the larger
        select v.*, greatest(case when recent <= 0 or prior <= 0 then 0
                                  when recent <= prior then recent / prior else prior / recent end, 1e-20) as ratio
          from visits v
    ), parts as (
        select r.customer_id,
               case when frequency <= 0 or recent <= 0 then 0::float8
                    when prior <= 0 then 1
                    when recent <= prior then (ratio * ratio) * (ratio * ratio) / (1 + (ratio * ratio) * (ratio * ratio))
                    else 1 / (1 + (ratio * ratio) * (ratio * ratio)) end as trajectory,
               case when frequency <= 0 then 0::float8
                    else least(1, (2 * weeks_active + 1)::float8 / (weeks + 4)::float8) end as engagement,
               case when frequency <= 0 or s.categories < 2 or category_minor = 0 then 0::float8
                    else least(1, category_entropy / ln(s.categories)) end as breadth,
               case when frequency <= 0 or points_balance <= 0 then 0::float8
                    else least(1, ln(1 + points_balance::float8) / ln(1 + s.balance)) end as points,
               case when frequency <= 0 then 0::float8
                    when recency_days <= s.gate_days then 1
                    else power(2::float8, -(recency_days - s.gate_days)::float8 / s.gate_half_days) end as gate,
               s.clv_trajectory, s.clv_engagement, s.clv_breadth, s.clv_points
          from ratios r cross join scale s
    ), milli as (
        select customer_id, trajectory, engagement, breadth, points, gate,
               segments.half_up(clv_trajectory * trajectory * gate * 1000) as trajectory_milli,
               segments.half_up(clv_engagement * engagement * gate * 1000) as engagement_milli,
               segments.half_up(clv_breadth * breadth * gate * 1000) as breadth_milli,
               segments.half_up(clv_points * points * gate * 1000) as points_milli
          from parts
    )
    select milli.*, ((trajectory_milli + engagement_milli + breadth_milli + points_milli + 500) / 1000)::int4 from milli
$$;
comment on function segments.batch_clv is
    'The potential, 0 to 100, and its four contributions in thousandths of a point, of which it is the rounded sum.';

create function segments.batch_standing(as_of date, run int4 default 1, upto int8[] default null, settings jsonb default null)
returns table (customer_id text, purchases int8, returns int8, points_earned int8, points_reversed int8, points_balance int8,
               last_purchase date, recency_days int4, frequency int8, monetary_minor int8,
               recency_score int4, frequency_score int4, monetary_score int4, rfm text,
               high_spender bool, at_risk bool, tier_points int8, tier text,
               clv int4, clv_trajectory_milli int8, clv_engagement_milli int8, clv_breadth_milli int8, clv_points_milli int8)
language sql stable parallel safe set jit = off as $$
    with cuts as materialized (
        select t.*, s.*
          from segments.batch_thresholds(as_of, run, upto, settings) as t,
               jsonb_to_record(segments.batch_settings(settings)) as s (at_risk_days int4, silver_points int8, gold_points int8)
    ), scored as (
        select f.*, c.threshold_minor, c.at_risk_days, c.silver_points, c.gold_points,
               case when f.frequency > 0 then 5 - (select count(*) from unnest(c.recency_cuts) as cut where f.recency_days > cut)::int4
                    else 0 end as recency_score,
               case when f.frequency > 0 then 1 + (select count(*) from unnest(c.frequency_cuts) as cut where f.frequency > cut)::int4
                    else 0 end as frequency_score,
               case when f.frequency > 0 then 1 + (select count(*) from unnest(c.monetary_cuts) as cut where f.monetary_minor > cut)::int4
                    else 0 end as monetary_score
          from segments.batch_facts(as_of, run, upto) as f cross join cuts as c
    )
    select s.customer_id, s.purchases, s.returns, s.points_earned, s.points_reversed, s.points_balance,
           s.last_purchase, s.recency_days, s.frequency, s.monetary_minor, s.recency_score, s.frequency_score, s.monetary_score,
           segments.rfm_name(s.recency_score, s.frequency_score, s.monetary_score),
           s.monetary_minor > 0 and s.monetary_minor >= s.threshold_minor,
           coalesce(s.recency_days >= s.at_risk_days and s.points_balance > 0, false),
           t.points_now,
           case when t.points_high >= s.gold_points then 'GOLD' when t.points_high >= s.silver_points then 'SILVER' else 'BRONZE' end,
           c.potential, c.trajectory_milli, c.engagement_milli, c.breadth_milli, c.points_milli
      from scored s
      join segments.batch_tier_points(as_of, run, upto) as t using (customer_id)
      join segments.batch_clv(as_of, run, upto, settings) as c using (customer_id)
$$;
comment on function segments.batch_standing is 'Standing on a day, one row per customer with a ledger row: what `segment` must have come to.';

-- What `lens report` says of standing, as one JSON object: of the stream as it stands, or by batch of any day. Both
-- have the same keys.
create function segments.report(run int4) returns jsonb language sql stable set jit = off as $$
    with standing as materialized (
        select tier, coalesce(nullif(rfm_segment, ''), 'NONE') as rfm, high_spender, at_risk
          from segments.customer_standing where run_id = run
    ), epoch as (
        select * from segments.thresholds where run_id = run order by version desc limit 1
    )
    select jsonb_build_object(
        'as_of', (select as_of_day from segments.owner where run_id = run),
        'high_spender', jsonb_build_object(
            'base', coalesce((select base from epoch), 0), 'k', coalesce((select k from epoch), 0),
            'threshold_minor', (select threshold_minor from epoch),
            'members', (select count(*) from standing where high_spender)),
        'at_risk', (select count(*) from standing where at_risk),
        'tiers', (select jsonb_object_agg(name, coalesce(n, 0)) from unnest(array['BRONZE', 'SILVER', 'GOLD']) as name
                    left join (select tier as name, count(*) as n from standing group by tier) as counted using (name)),
        'segments', (select coalesce(jsonb_object_agg(rfm, n), '{}')
                       from (select rfm, count(*) as n from standing group by rfm) as counted),
        -- the last of each reason, of flags and tiers rather than of the named segments, which change all the time
        'changes', (select coalesce(jsonb_agg(jsonb_build_object(
                               'customer_id', customer_id, 'segment', segment, 'kind', kind, 'reason', reason,
                               'effective_at', to_char(effective_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                               'as_of_day', as_of_day, 'threshold_version', threshold_version)
                           order by segment like 'RFM%', array_position(array['THRESHOLD', 'TIME', 'PURCHASE'], reason), reason), '[]')
                      from (select distinct on (reason) *
                              from segments.changes where run_id = run and segment <> 'TIER_BRONZE'
                             order by reason, segment like 'RFM%', change_no desc) as latest))
$$;

create function segments.batch_report(as_of date, run int4 default 1, settings jsonb default null) returns jsonb
language sql stable set jit = off as $$
    with standing as materialized (
        select tier, rfm, high_spender, at_risk from segments.batch_standing(as_of, run, null, settings)
    )
    select jsonb_build_object(
        'as_of', as_of,
        'high_spender', (select jsonb_build_object('base', base, 'k', k, 'threshold_minor', threshold_minor,
                                                   'members', (select count(*) from standing where high_spender))
                           from segments.batch_thresholds(as_of, run, null, settings)),
        'at_risk', (select count(*) from standing where at_risk),
        'tiers', (select jsonb_object_agg(name, coalesce(n, 0)) from unnest(array['BRONZE', 'SILVER', 'GOLD']) as name
                    left join (select tier as name, count(*) as n from standing group by tier) as counted using (name)),
        'segments', (select coalesce(jsonb_object_agg(rfm, n), '{}')
                       from (select rfm, count(*) as n from standing group by rfm) as counted))
$$;
comment on function segments.report is 'Standing in numbers, as the stream has it.';
comment on function segments.batch_report is 'Standing in numbers on any day, by batch.';
