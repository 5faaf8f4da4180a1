-- Letters: what was sent to whom, what was held back, and why (DESIGN 7). Owned by lens-notify, which comes in by the functions
-- below alone: a JSON value in, a JSON value out, each call one step that is done or not done. run_id is part of every key.

create schema mail;

create table mail.progress (
    run_id       int4 not null,
    topic        text not null,
    partition    int4 not null,
    next_offset  int8 not null,
    row_offset   int8 not null default -1,
    row_seq      int4 not null default -1,
    updated_at   timestamptz not null default now(),
    primary key (run_id, topic, partition)
);
comment on table mail.progress is 'How far each input was taken in, changed in the transaction that writes what it gave rise to.';
comment on column mail.progress.row_offset is 'ledger: (row_offset, row_seq) of the last row taken; what is not above it comes again and is dropped';

create table mail.recipients (
    run_id          int4 not null,
    customer_id     text not null,
    effective_from  timestamptz not null,
    name            text,
    email           text,
    language        text,
    consent         bool not null,
    mailable        bool not null,
    erased          bool not null,
    primary key (run_id, customer_id, effective_from)
);
comment on table mail.recipients is 'Customers as customers.valid tells them, a row per version; an erased one has neither name nor address left.';

create table mail.accounts (
    run_id       int4 not null,
    customer_id  text not null,
    balance      int8 not null,
    primary key (run_id, customer_id)
) with (fillfactor = 70);
comment on table mail.accounts is 'Points by customer, as far as the ledger topic was taken in: the balance that a letter names.';

create table mail.standing (
    run_id       int4 not null,
    customer_id  text not null,
    segment      text not null,
    sequence     int8 not null,
    inside       bool not null,
    primary key (run_id, customer_id, segment)
);
comment on table mail.standing is 'Who is in which segment by the last change: what a letter says must still be true when it goes.';

create table mail.letters (
    run_id       int4 not null,
    letter_id    text not null,
    customer_id  text not null,
    letter       text not null,
    class        text not null,
    list         text not null,
    transition   text not null,
    facts        jsonb not null,
    points       int8 not null default 0,
    reversed     int8 not null default 0,
    happened_at  timestamptz not null,
    noted_at     timestamptz not null,
    due_at       timestamptz not null,
    state        text not null check (state in ('waiting', 'claimed', 'sending', 'sent', 'held', 'dead', 'unknown')),
    reason       text,
    attempts     int4 not null default 0,
    claim        text,
    claimed_at   timestamptz,
    decided_at   timestamptz,
    sent_at      timestamptz,
    address      text,
    subject      text,
    message      bytea,
    reply        text,
    primary key (run_id, letter_id)
);
create index letters_due on mail.letters (run_id, due_at, letter_id) where state = 'waiting';
create index letters_taken on mail.letters (run_id, claimed_at) where state in ('claimed', 'sending');
create index letters_customer on mail.letters (run_id, customer_id, noted_at);
comment on table mail.letters is 'One row per customer, letter and transition; the id is derived of these three, and the Message-ID of it.';
comment on column mail.letters.letter is 'of deploy/letters/letters.conf';
comment on column mail.letters.class is 'transactional, service, marketing';
comment on column mail.letters.list is 'what one unsubscribes from: points, offers';
comment on column mail.letters.transition is 'what the letter is about: a transaction, a day, a change of segment';
comment on column mail.letters.reversed is 'points that returns have taken back since: the letter is no longer true when nothing is left';
comment on column mail.letters.state is 'waiting for its time; claimed; sending (handed over now); sent; held back; dead (refused); unknown (lost after DATA)';
comment on column mail.letters.reply is 'the server''s last words';

create table mail.decisions (
    run_id     int4 not null,
    letter_id  text not null,
    number     int8 generated always as identity,
    at         timestamptz not null,
    verdict    text not null,
    reason     text not null,
    detail     text,
    primary key (run_id, letter_id, number)
);
comment on table mail.decisions is 'Everything that was decided about a letter, in order. One that came too late is held at once: letters.reason alone says so.';

create table mail.unsubscribed (
    run_id       int4 not null,
    customer_id  text not null,
    list         text not null,
    at           timestamptz not null,
    primary key (run_id, customer_id, list)
);

create table mail.suppressed (
    run_id     int4 not null,
    address    text not null,
    letter_id  text not null,
    reply      text not null,
    at         timestamptz not null,
    primary key (run_id, address)
);
comment on table mail.suppressed is 'Addresses, in lower case, that a server refused for good; `lens mail retry` of the letter takes one off.';

create view mail.counts as
select run_id, letter, class, state, reason, count(*) as letters
  from mail.letters group by run_id, letter, class, state, reason;
comment on view mail.counts is 'Letters by what became of them and why.';

create function mail.at(ms int8) returns timestamptz language sql immutable parallel safe
return timestamptz 'epoch' + ms * interval '1 ms';
create function mail.ms(at timestamptz) returns int8 language sql immutable parallel safe
return floor(extract(epoch from at) * 1000)::int8;
create function mail.id(run int4, customer text, letter text, transition text) returns text language sql immutable parallel safe
return left(encode(sha256(convert_to(concat_ws(chr(31), run, customer, letter, transition), 'UTF8')), 'hex'), 32);

-- Where each input of the run stands: [{topic, partition, next, row_offset, row_seq}].
create function mail.stands(run int4, asked jsonb) returns jsonb language sql stable as $$
select coalesce(jsonb_agg(jsonb_build_object('topic', topic, 'partition', partition, 'next', next_offset,
                                             'row_offset', row_offset, 'row_seq', row_seq)), '[]')
  from mail.progress where run_id = run
$$;

-- Compares before it writes: a batch whose reply was lost may be given again; one that another process has taken is refused.
create function mail.advance(run int4, steps jsonb) returns bool language plpgsql as $$
declare
    step record;
    fresh int := 0;
    again int := 0;
begin
    for step in select s.*, coalesce(p.next_offset, 0) as stands
                  from jsonb_to_recordset(steps) as s(topic text, partition int4, "from" int8, "to" int8, row_offset int8, row_seq int4)
                  left join mail.progress p on p.run_id = run and p.topic = s.topic and p.partition = s.partition
    loop
        if step.stands = step."from" then
            fresh := fresh + 1;
        elsif step.stands = step."to" then
            again := again + 1;
        else
            raise exception 'mail.progress of %[%] stands at %, not at %: another process has taken it over',
                step.topic, step.partition, step.stands, step."from" using errcode = 'LM001';
        end if;
    end loop;
    if fresh > 0 and again > 0 then
        raise exception 'mail.progress stands in the middle of a batch' using errcode = 'LM001';
    end if;
    if fresh = 0 then
        return false;
    end if;
    insert into mail.progress as p (run_id, topic, partition, next_offset, row_offset, row_seq)
    select run, s.topic, s.partition, s."to", s.row_offset, s.row_seq
      from jsonb_to_recordset(steps) as s(topic text, partition int4, "to" int8, row_offset int8, row_seq int4)
    on conflict (run_id, topic, partition) do update
       set next_offset = excluded.next_offset, row_offset = excluded.row_offset, row_seq = excluded.row_seq, updated_at = now();
    return true;
end
$$;

create function mail.take_customers(run int4, given jsonb) returns void language plpgsql as $$
begin
    insert into mail.recipients as r (run_id, customer_id, effective_from, name, email, language, consent, mailable, erased)
    select distinct on (c.id, c."from") run, c.id, mail.at(c."from"), case when not c.erased then c.name end,
           case when not c.erased then c.email end, c.language, c.consent, c.mailable, c.erased
      from jsonb_array_elements(given) with ordinality as e(value, n),
           jsonb_to_record(e.value) as c(id text, "from" int8, name text, email text, language text, consent bool, mailable bool, erased bool)
     order by c.id, c."from", e.n desc
    on conflict (run_id, customer_id, effective_from) do update
       set name = excluded.name, email = excluded.email, language = excluded.language, consent = excluded.consent,
           mailable = excluded.mailable, erased = excluded.erased;
    -- What is erased is erased everywhere, in all versions and in what was written.
    with gone as (select distinct c.id from jsonb_to_recordset(given) as c(id text, erased bool) where c.erased),
         known as (select r.customer_id, r.email from mail.recipients r join gone on r.run_id = run and r.customer_id = gone.id),
         free as (delete from mail.suppressed s using known where s.run_id = run and s.address = lower(known.email)),
         blank as (update mail.recipients r set name = null, email = null from gone
                    where r.run_id = run and r.customer_id = gone.id and (r.name is not null or r.email is not null))
    update mail.letters l set address = null, subject = null, message = null, reply = null from gone
     where l.run_id = run and l.customer_id = gone.id and l.address is not null;
end
$$;

create function mail.take_letters(run int4, given jsonb, now_at timestamptz) returns int8 language plpgsql as $$
declare
    added int8;
begin
    with g as (select mail.id(run, l.customer, l.letter, l.transition) as letter_id, l.*,
                      row_number() over (partition by l.customer, l.letter, l.transition) as copy
                 from jsonb_to_recordset(given) as l(customer text, letter text, class text, list text, transition text, facts jsonb,
                                                     points int8, happened int8, due int8, state text, reason text, digest bool)),
         once as (insert into mail.letters as m (run_id, letter_id, customer_id, letter, class, list, transition, facts, points,
                                                 happened_at, noted_at, due_at, state, reason, decided_at)
                  select run, letter_id, customer, letter, class, list, transition, facts, points, mail.at(happened), now_at,
                         mail.at(due), state, reason, case when state <> 'waiting' then now_at end
                    from g where not digest and copy = 1
                  on conflict (run_id, letter_id) do nothing
                  returning letter_id),
         again as (insert into mail.decisions (run_id, letter_id, at, verdict, reason, detail)
                   select run, letter_id, now_at, 'dropped', 'ALREADY_SENT', 'the same transition came again'
                     from g where not digest and (copy > 1 or letter_id not in (select letter_id from once)))
    select count(*) into added from once;
    -- A day's letter grows until its day is over.
    insert into mail.letters as m (run_id, letter_id, customer_id, letter, class, list, transition, facts, points, happened_at, noted_at,
                                   due_at, state, reason)
    select run, mail.id(run, customer, letter, transition), customer, letter, min(class), min(list), transition,
           jsonb_build_object('earned', sum((facts->>'earned')::int8), 'reversed', sum((facts->>'reversed')::int8), 'count', count(*)),
           sum(points), mail.at(max(happened)), now_at, mail.at(max(due)), min(state), min(reason)
      from jsonb_to_recordset(given) as l(customer text, letter text, class text, list text, transition text, facts jsonb, points int8,
                                          happened int8, due int8, state text, reason text, digest bool)
     where digest group by customer, letter, transition
    on conflict (run_id, letter_id) do update
       set facts = jsonb_build_object('earned', (m.facts->>'earned')::int8 + (excluded.facts->>'earned')::int8,
                                      'reversed', (m.facts->>'reversed')::int8 + (excluded.facts->>'reversed')::int8,
                                      'count', (m.facts->>'count')::int8 + (excluded.facts->>'count')::int8),
           points = m.points + excluded.points, happened_at = greatest(m.happened_at, excluded.happened_at)
     where m.state = 'waiting';
    return added;
end
$$;

-- One batch of input: all of it and where the inputs stand then, or nothing.
create function mail.take(run int4, batch jsonb) returns jsonb language plpgsql as $$
declare
    now_at timestamptz := mail.at((batch->>'now')::int8);
    added int8;
begin
    if not mail.advance(run, batch->'progress') then
        return jsonb_build_object('again', true, 'letters', 0);
    end if;
    perform mail.take_customers(run, batch->'customers');
    insert into mail.accounts as a (run_id, customer_id, balance)
    select run, p.customer, sum(p.points) from jsonb_to_recordset(batch->'points') as p(customer text, points int8) group by p.customer
    on conflict (run_id, customer_id) do update set balance = a.balance + excluded.balance;
    insert into mail.standing as s (run_id, customer_id, segment, sequence, inside)
    select distinct on (c.customer, c.segment) run, c.customer, c.segment, c.sequence, c.inside
      from jsonb_to_recordset(batch->'changes') as c(customer text, segment text, sequence int8, inside bool)
     order by c.customer, c.segment, c.sequence desc
    on conflict (run_id, customer_id, segment) do update set sequence = excluded.sequence, inside = excluded.inside
     where excluded.sequence > s.sequence;
    added := mail.take_letters(run, batch->'letters', now_at);
    update mail.letters l set reversed = l.reversed + r.points
      from (select mail.id(run, x.customer, x.letter, x.transition) as letter_id, sum(x.points)::int8 as points
              from jsonb_to_recordset(batch->'reversals') as x(customer text, letter text, transition text, points int8) group by 1) r
     where l.run_id = run and l.letter_id = r.letter_id;
    insert into mail.unsubscribed (run_id, customer_id, list, at)
    select distinct run, u.customer, u.list, now_at from jsonb_to_recordset(batch->'unsubscribes') as u(customer text, list text)
    on conflict do nothing;
    perform mail.retry(run, batch->'retries', now_at);
    return jsonb_build_object('again', false, 'letters', added);
end
$$;

-- An operator asks for another judgement; every rule holds all the same, but that a refused address is tried again.
create function mail.retry(run int4, ids jsonb, now_at timestamptz) returns void language sql as $$
with asked as (select distinct value as letter_id from jsonb_array_elements_text(ids)),
     free as (delete from mail.suppressed s using asked where s.run_id = run and s.letter_id = asked.letter_id),
     back as (update mail.letters l set state = 'waiting', reason = 'RETRIED', due_at = now_at, attempts = 0, claim = null
                from asked where l.run_id = run and l.letter_id = asked.letter_id and l.state in ('held', 'dead', 'unknown')
              returning l.letter_id)
insert into mail.decisions (run_id, letter_id, at, verdict, reason, detail)
select run, letter_id, now_at, 'waiting', 'RETRIED', 'lens mail retry' from back
$$;

-- asked: {now, most, cap_ms}. The letters whose time has come, with everything that a judgement needs; their rows are locked, and
-- no other judgement goes on at the same time: two letters to one customer know of each other.
create function mail.due(run int4, asked jsonb) returns jsonb language plpgsql as $$
declare
    now_at timestamptz := mail.at((asked->>'now')::int8);
    answer jsonb;
begin
    perform pg_advisory_xact_lock(1835100524, run);
    select coalesce(jsonb_agg(to_jsonb(d)), '[]') into answer from (
        select l.letter_id as id, l.customer_id as customer, l.letter, l.class, l.list, l.transition, l.facts, l.points, l.reversed, l.attempts,
               mail.ms(l.happened_at) as happened, l.sent_at is not null as sent, r.customer_id is not null as known, r.name, r.email,
               coalesce(r.consent, false) as consent, coalesce(r.mailable, false) as mailable,
               exists (select from mail.recipients e where e.run_id = run and e.customer_id = l.customer_id and e.erased) as erased,
               exists (select from mail.unsubscribed u where u.run_id = run and u.customer_id = l.customer_id and u.list = l.list)
                   as unsubscribed,
               (select b.reply from mail.suppressed b where b.run_id = run and b.address = lower(r.email)) as bounced,
               coalesce(a.balance, 0) as balance,
               (select t.inside from mail.standing t
                 where t.run_id = run and t.customer_id = l.customer_id and t.segment = l.facts->>'segment') as inside,
               case when l.class = 'marketing' then
                   (select count(*) from mail.letters o
                     where o.run_id = run and o.customer_id = l.customer_id and o.class = 'marketing' and o.letter_id <> l.letter_id
                       and o.state in ('claimed', 'sending', 'sent', 'unknown')
                       and o.claimed_at > now_at - (asked->>'cap_ms')::int8 * interval '1 ms')
               else 0 end as recent
          from mail.letters l
          left join lateral (select * from mail.recipients v where v.run_id = run and v.customer_id = l.customer_id
                                and v.effective_from <= now_at order by v.effective_from desc limit 1) r on true
          left join mail.accounts a on a.run_id = run and a.customer_id = l.customer_id
         where l.run_id = run and l.state = 'waiting' and l.due_at <= now_at
         order by l.due_at, l.letter_id limit (asked->>'most')::int4 for update of l skip locked) d;
    return answer;
end
$$;

-- given: {now, claim, verdicts: [{id, state, reason, detail, due, address, subject, message}]}; message in base64.
create function mail.judge(run int4, given jsonb) returns jsonb language sql as $$
with v as (select * from jsonb_to_recordset(given->'verdicts')
               as v(id text, state text, reason text, detail text, due int8, address text, subject text, message text)),
     done as (update mail.letters l
                 set state = v.state, reason = v.reason, decided_at = mail.at((given->>'now')::int8),
                     due_at = coalesce(mail.at(v.due), l.due_at),
                     claim = case when v.state = 'claimed' then given->>'claim' end,
                     claimed_at = case when v.state = 'claimed' then mail.at((given->>'now')::int8) else l.claimed_at end,
                     address = coalesce(v.address, l.address), subject = coalesce(v.subject, l.subject),
                     message = coalesce(decode(v.message, 'base64'), l.message)
                from v where l.run_id = run and l.letter_id = v.id
              returning l.letter_id),
     said as (insert into mail.decisions (run_id, letter_id, at, verdict, reason, detail)
              select run, v.id, mail.at((given->>'now')::int8), v.state, v.reason, v.detail from v)
select jsonb_build_object('judged', (select count(*) from done))
$$;

-- given: {now, claim, results: [{id, state, reason, detail, due, attempt, suppress}], next: id or null}. What became of letters that
-- this claim handed over, and which one goes next: its row says so before its first byte does. {next: false}: it is not ours any more.
create function mail.finish(run int4, given jsonb) returns jsonb language plpgsql as $$
declare
    now_at timestamptz := mail.at((given->>'now')::int8);
    marked int := 0;
begin
    with v as (select * from jsonb_to_recordset(given->'results')
                   as v(id text, state text, reason text, detail text, due int8, attempt int4, suppress bool)),
         done as (update mail.letters l
                     set state = v.state, reason = v.reason, attempts = l.attempts + v.attempt, reply = v.detail, decided_at = now_at,
                         due_at = coalesce(mail.at(v.due), l.due_at), claim = null,
                         sent_at = case when v.state = 'sent' then now_at else l.sent_at end
                    from v where l.run_id = run and l.letter_id = v.id and l.claim = given->>'claim'
                  returning l.letter_id, l.address, v.suppress),
         bad as (insert into mail.suppressed (run_id, address, letter_id, reply, at)
                 select distinct on (lower(done.address)) run, lower(done.address), done.letter_id, coalesce(v.detail, ''), now_at
                   from done join v on v.id = done.letter_id where done.suppress and done.address is not null
                 on conflict (run_id, address) do nothing)
    insert into mail.decisions (run_id, letter_id, at, verdict, reason, detail)
    select run, v.id, now_at, v.state, v.reason, v.detail from v join done on done.letter_id = v.id;
    if given->>'next' is not null then
        update mail.letters set state = 'sending', claimed_at = now_at
         where run_id = run and letter_id = given->>'next' and claim = given->>'claim'
           and state in ('claimed', 'sending'); -- sending: the same question again, its reply was lost
        get diagnostics marked = row_count;
    end if;
    return jsonb_build_object('next', marked = 1);
end
$$;

-- given: {now, claim, instance, lease_ms, lost}. Letters that a process took and did not finish. What was claimed goes back; what was
-- being handed over may have arrived: lost says what to do with it ('waiting' or 'unknown').
create function mail.recover(run int4, given jsonb) returns jsonb language sql as $$
with stale as (select letter_id, state from mail.letters
                where run_id = run and state in ('claimed', 'sending') and claim is distinct from given->>'claim'
                  and (split_part(claim, ':', 1) = given->>'instance'
                       or claimed_at < mail.at((given->>'now')::int8) - (given->>'lease_ms')::int8 * interval '1 ms') for update),
     back as (update mail.letters l
                 set state = case when s.state = 'sending' then given->>'lost' else 'waiting' end,
                     reason = case when s.state = 'sending' then 'LOST' else 'RECOVERED' end, claim = null,
                     due_at = mail.at((given->>'now')::int8)
                from stale s where l.run_id = run and l.letter_id = s.letter_id
              returning l.letter_id, l.state, l.reason),
     said as (insert into mail.decisions (run_id, letter_id, at, verdict, reason, detail)
              select run, letter_id, mail.at((given->>'now')::int8), state, reason,
                     case when reason = 'LOST' then 'its process ended while it was being handed over' else 'its process ended before it was handed over' end
                from back)
select jsonb_build_object('recovered', (select count(*) from back where reason = 'RECOVERED'),
                          'lost', (select count(*) from back where reason = 'LOST'))
$$;

-- {waiting, due_in_ms}: for the loop and its metrics.
create function mail.outlook(run int4, given jsonb) returns jsonb language sql stable as $$
select jsonb_build_object('waiting', count(*), 'next', mail.ms(min(due_at))) from mail.letters where run_id = run and state = 'waiting'
$$;

-- Everything that was decided about one letter, oldest first.
create view mail.why as
select run_id, letter_id, noted_at as at, 0::int8 as number, case when decided_at = noted_at and state = 'held' then 'held' else 'waiting' end as verdict,
       case when decided_at = noted_at and state = 'held' then reason else 'NOTED' end as reason, transition as detail
  from mail.letters
union all
select run_id, letter_id, at, number, verdict, reason, detail from mail.decisions;
