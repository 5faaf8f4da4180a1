-- What the reading verbs of `lens` select from: report, customer, ledger, dlq, verify. Nothing here is written to.
-- Times are int8 milliseconds since 1970 UTC (_ms), so that no client parses dates.

create function loyalty.ms(at timestamptz) returns int8 language sql immutable strict parallel safe
    return (extract(epoch from at) * 1000)::int8;
comment on function loyalty.ms is 'milliseconds since 1970 UTC';

create view loyalty.report_totals as
select run_id,
       count(*)::int8                                             as transactions,
       count(*) filter (where type = 'S')::int8                   as sales,
       count(*) filter (where type = 'R')::int8                   as returns,
       count(*) filter (where type = 'V')::int8                   as voids,
       coalesce(sum(net_minor), 0)::int8                          as net_minor,
       coalesce(sum(points) filter (where points > 0), 0)::int8   as points_earned,
       coalesce(-sum(points) filter (where points < 0), 0)::int8  as points_reversed,
       coalesce(sum(points), 0)::int8                             as points_balance,
       count(*) filter (where customer_id is null)::int8          as unidentified_transactions,
       coalesce(sum(net_minor) filter (where customer_id is null), 0)::int8 as unidentified_net_minor,
       count(*) filter (where warnings is not null)::int8         as with_warnings
  from loyalty.postings
 group by run_id;
comment on view loyalty.report_totals is 'The whole ledger of a run in one row.';

create view loyalty.report_warnings as
select run_id, code, count(*)::int8 as rows
  from loyalty.postings cross join lateral string_to_table(warnings, ',') as code
 group by run_id, code;
comment on view loyalty.report_warnings is 'Credited, with a remark: how often each code.';

-- A customer has one row per partition; more than one partition only where keys were wrong, which verify reports.
create view loyalty.report_customers as
select run_id, customer_id, min(partition) as partition, count(*)::int8 as partitions,
       sum(points_balance)::int8 as points_balance, greatest(sum(points_balance), 0)::int8 as points_spendable,
       sum(points_earned)::int8 as points_earned, sum(points_reversed)::int8 as points_reversed,
       sum(net_minor)::int8 as net_minor, sum(postings)::int8 as postings,
       loyalty.ms(max(last_event_at)) as last_event_ms
  from loyalty.accounts
 group by run_id, customer_id;
comment on view loyalty.report_customers is 'One row per customer with a ledger row.';

-- Where the ledger has rows: runs of consecutive event offsets, so that a million rows come as a handful of spans.
create view loyalty.ledger_spans as
select run_id, partition, min(event_offset)::int8 as first_offset, max(event_offset)::int8 as last_offset
  from (select run_id, partition, coalesce(event_offset, "offset") as event_offset,
               coalesce(event_offset, "offset")
                   - row_number() over (partition by run_id, partition order by coalesce(event_offset, "offset")) as span
          from loyalty.postings) as numbered
 group by run_id, partition, span;
comment on view loyalty.ledger_spans is 'Event offsets of each partition that have a ledger row, as spans without gaps.';

create view loyalty.dead_letters as
select run_id, partition as source_partition, "offset" as source_offset, seq, event_offset,
       loyalty.ms(record_time) as timestamp_ms, loyalty.ms(refused_at) as refused_ms,
       array_to_string(codes, ',') as codes, message, key, value, headers, source, transaction_id,
       coalesce(raw_topic, 'transactions') as raw_topic, raw_partition, raw_offset
  from loyalty.dead;
comment on view loyalty.dead_letters is 'What accrue refused, for `lens dlq`.';

create view loyalty.ledger_rows as
select run_id, partition as source_partition, "offset" as source_offset, seq,
       coalesce(event_offset, "offset") as event_offset,
       case type when 'S' then 'SALE' when 'R' then 'RETURN' when 'V' then 'VOID' end as type,
       customer_id, transaction_id, sale_id, store_id, source, points, net_minor,
       to_char(sale_day, 'YYYY-MM-DD') as sale_day, loyalty.ms(event_time) as event_ms, loyalty.ms(posted_at) as posted_ms,
       rules_version,
       (select json_agg(json_build_object('rule_id', r.rule_id, 'points', r.points) order by r.rule_id)
          from unnest(rule_ids, rule_points) as r (rule_id, points)) as rules,
       (select json_agg(json_build_object('product_id', n.product_id, 'category', categories[n.line],
                                          'promotion_id', promotions[n.line], 'net_minor', amounts_minor[n.line],
                                          'excess_minor', coalesce(excess_minor[n.line], 0)) order by n.line)
          from unnest(products) with ordinality as n (product_id, line)) as lines,
       array_to_string(warnings, ',') as warnings,
       coalesce(raw_topic, 'transactions') as raw_topic, coalesce(raw_partition, partition) as raw_partition, raw_offset
  from loyalty.ledger;
comment on view loyalty.ledger_rows is 'The ledger for `lens ledger` and `lens customer`: rules and lines as JSON.';

-- verify: each view is empty, or has what is wrong.
create view loyalty.verify_accounts as
select run_id, coalesce(l.partition, a.partition) as partition, coalesce(l.customer_id, a.customer_id) as customer_id,
       l.points as ledger_points, a.points_balance as account_points,
       l.earned as ledger_earned, a.points_earned as account_earned,
       l.reversed as ledger_reversed, a.points_reversed as account_reversed,
       l.net_minor as ledger_net_minor, a.net_minor as account_net_minor,
       l.postings as ledger_postings, a.postings as account_postings
  from (select run_id, partition, customer_id, sum(points)::int8 as points,
               coalesce(sum(points) filter (where points > 0), 0)::int8 as earned,
               coalesce(-sum(points) filter (where points < 0), 0)::int8 as reversed,
               sum(net_minor)::int8 as net_minor, count(*)::int8 as postings
          from loyalty.postings
         where customer_id is not null
         group by run_id, partition, customer_id) as l
  full join loyalty.accounts as a using (run_id, partition, customer_id)
 where (l.points, l.earned, l.reversed, l.net_minor, l.postings)
       is distinct from (a.points_balance, a.points_earned, a.points_reversed, a.net_minor, a.postings);
comment on view loyalty.verify_accounts is 'Accounts that are not the fold of their ledger rows.';

create view loyalty.verify_counts as
select p.run_id, p.partition, p.next_offset, p.read_count, p.credited, p.duplicate, p.dead, p.held, p.control,
       (select count(*) from loyalty.postings l where l.run_id = p.run_id and l.partition = p.partition)::int8
           as ledger_rows,
       (select count(*) from loyalty.dead d where d.run_id = p.run_id and d.partition = p.partition)::int8 as dead_rows,
       (select count(*) from loyalty.held h where h.run_id = p.run_id and h.partition = p.partition)::int8 as held_rows
  from loyalty.partitions p;
comment on view loyalty.verify_counts is 'What each partition''s row says that it read, beside the rows that are there.';

create view loyalty.verify_identities as
select run_id, source, type, transaction_id, count(*)::int8 as rows, min(partition) as first_partition,
       max(partition) as last_partition
  from loyalty.postings
 where (run_id, identity_hash) in (select run_id, identity_hash from loyalty.postings group by 1, 2 having count(*) > 1)
 group by run_id, source, type, transaction_id
having count(*) > 1;
comment on view loyalty.verify_identities is 'Identities with more than one ledger row: credited twice, or seen in two partitions.';
