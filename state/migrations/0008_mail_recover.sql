-- A process that slept while another of its name took its place took that one's letters for left behind once it was awake, before Kafka
-- told it that it was replaced. Of its name, only what was claimed before it began was left by a dead process.

-- given: {now, claim, process, instance, began, lease_ms, lost}. Letters that a process took and did not finish: this one (process is how
-- its claims begin), those of its name before it, and anybody after the lease. What was claimed goes back; what was being handed over
-- may have arrived: lost says what to do with it ('waiting' or 'unknown').
create or replace function mail.recover(run int4, given jsonb) returns jsonb language sql as $$
with stale as (select letter_id, state from mail.letters
                where run_id = run and state in ('claimed', 'sending') and claim is distinct from given->>'claim'
                  and (starts_with(claim, given->>'process')
                       or (split_part(claim, ':', 1) = given->>'instance' and claimed_at <= mail.at((given->>'began')::int8))
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
