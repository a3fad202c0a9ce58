"""slices.py - a mail with more recipients than fit into memory: read part by part, each delivered once.

postqueue shows whom it waits for; a kill in the midst of it, and a stop, lose nobody.
"""

import collections
import json
import subprocess
import threading

import pp_harness
import pp_peers
from pp_scratch import TIMEOUT

COUNT = 3000


def later(verb, argument):
    """Every twentieth waits."""
    return "450 4.2.0 later" if verb == "RCPT" and argument.startswith("TO:<later") else None


def test_many_recipients(scratch):
    sink = pp_peers.Sink(scratch, answer=later)
    people = [f"{'later' if i % 20 == 7 else 'user'}{i}@d{i % 40}.test" for i in range(COUNT)]
    good = [who for who in people if who.startswith("user")]
    waiting = sorted(who for who in people if who.startswith("later"))
    system = pp_harness.Pennypost(
        scratch, qmgr_message_recipient_limit="300", default_recipient_refill_limit="50",
        smtp_destination_recipient_limit="20", minimal_backoff_time="1h", maximal_backoff_time="2h",
        bounce_queue_lifetime="5d").relay_to(sink).start()
    system.must("sendmail", "-f", "", *people, input="Subject: to many\n\nhello\n")
    sink.wait(20)  # of 150
    system.kill()
    system.start()
    system.events.wait_for("^deferred ")
    told = collections.Counter(who for mail in sink.mails for who in mail.recipients)
    assert set(told) == set(good)
    # Twice only whose final reply was on its way when we were killed: 20 deliveries at once at most.
    assert sum(told.values()) - len(good) <= 20 * 20
    system.log.wait_for(r"from=<>, size=\d+, nrcpt=\d+ \(queue active\)", count=1)
    shown = [json.loads(line) for line in system.must("postqueue", "-j").splitlines()]
    assert [sorted(r["address"] for r in m["recipients"]) for m in shown] == [waiting]
    # Again, all at once and with a clean stop in between: nobody who has it gets it again.
    sink.answer = None
    before, mails = sum(told.values()), len(sink.mails)
    system.must("postqueue", "-f")
    sink.wait(mails + 1)
    system.stop()
    system.start()
    system.log.wait_for(r"removed", timeout=60) if system.queue_files() else None
    told = collections.Counter(who for mail in sink.mails for who in mail.recipients)
    assert set(told) == set(people) and sum(told.values()) - before == len(waiting)


def test_command_in_the_midst(scratch):
    """Held while its slices are on the way: what is not begun stays for later."""
    is_held = threading.Event()
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: is_held.wait(TIMEOUT) and None
                         if verb == "MAIL" and len(sink.mails) >= 10 else None)
    people = [f"user{i}@d{i % 40}.test" for i in range(COUNT)]
    system = pp_harness.Pennypost(scratch, qmgr_message_recipient_limit="100",
                                  smtp_destination_recipient_limit="10").relay_to(sink).start()
    subprocess.run(system.argv("sendmail", "-f", "x@y.test", *people), check=True,
                   input=b"Subject: to many\n\nhello\n")
    sink.wait(10)
    system.must("postsuper", "-h", "ALL")
    is_held.set()
    system.events.wait_for("^held ")
    count = len(sink.mails)
    assert count < COUNT / 10
    system.must("postsuper", "-H", "ALL")
    system.log.wait_for(r"qmgr\[\d+\]: \w+: removed")
    told = collections.Counter(who for mail in sink.mails for who in mail.recipients)
    assert sorted(told) == sorted(people) and set(told.values()) == {1}
