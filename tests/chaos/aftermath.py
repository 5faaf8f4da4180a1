"""What must hold behind the ledger once nothing moves any more: the standing is what the batch makes of the ledger, and every posting
that gave or took points has one letter about it, sent or held back."""

from stack import wait_for

# Days end with the sales' own times, which lie in the past.
CONFIGURATION = """
validate: { tick_ms = 1000; };
relay: { tick_ms = 1000; };
segment: { clock = "event"; quiet_ms = 3000; };
"""

STANDING = """
select count(*) from (
    (select customer_id, frequency, monetary_minor, recency_days, points_balance, tier_points, tier, high_spender, at_risk, clv_potential
       from segments.customer_standing where run_id = 1)
    except
    (select customer_id, frequency, monetary_minor, recency_days, points_balance, tier_points, tier, high_spender, at_risk, clv
       from segments.batch_standing((select max(day) from segments.thresholds where run_id = 1)))
) as differs
"""
LETTERS = """
select coalesce(a.customer_id, m.customer_id), a.points, m.points, a.count, m.count
  from (select customer_id, sum(points)::int8 as points, count(*) from loyalty.postings
         where run_id = 1 and points <> 0 and customer_id is not null group by 1) a
  full join (select customer_id, sum(points)::int8 as points, count(*) from mail.letters
              where run_id = 1 and letter in ('points_earned', 'points_reversed') group by 1) m on m.customer_id = a.customer_id
 where (a.points, a.count) is distinct from (m.points, m.count)
"""


def standing_is_the_batch(stack) -> None:
    stack.lens("segments", "wait", "--timeout", "240")
    customers = stack.query("select count(*) from segments.customer_standing where run_id = 1")[0][0]
    assert customers == stack.query("select count(*) from loyalty.accounts where run_id = 1")[0][0]
    assert stack.query(STANDING)[0][0] == 0


def letters_are_the_postings(stack) -> None:
    wait_for("every posting has its letter", lambda: not stack.query(LETTERS), 240)
    wait_for("no letter is under way",
             lambda: not stack.query("select 1 from mail.letters where state in ('waiting', 'claimed', 'sending') limit 1"), 240)
    sent = {row[0] for row in stack.query("select letter_id from mail.letters where run_id = 1 and state = 'sent'")}
    written = sorted(path.stem for path in (stack.home / "mail").rglob("*.eml"))
    assert len(written) == len(set(written)), "a letter lies there twice"
    assert set(written) == sent
