"""relays.py - a list of relays: the next one is used, and a bad one left alone until it is back."""

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT


def mails(system, first, count, **options):
    for n in range(first, first + count):
        system.wait_removed(system.send(f"u{n}@dest.test", **options))


@pytest.mark.parametrize("stage, reply, words", [
    ("CONNECT", "554 5.7.1 not today", "refused to talk to me: 554 5.7.1 not today"),
    ("EHLO", "421 4.3.2 later", "refused to talk to me: 421 4.3.2 later"),
    ("MAIL", "550 5.4.5 Daily user sending quota exceeded.",
     r"said: 550 5.4.5 Daily user sending quota exceeded. \(in reply to MAIL FROM command\)"),
    ("MAIL", "454 4.7.0 Throttling failure: Maximum sending rate exceeded.", "Throttling failure"),
    ("MAIL", "530 5.7.0 Authentication required", "530 5.7.0 Authentication required"),
])
def test_left_alone_and_back(scratch, stage, reply, words):
    trouble = {"on": True}
    bad = pp_peers.Sink(scratch, answer=lambda verb, _: reply
                        if trouble["on"] and verb == stage else None)
    good = pp_peers.Sink(scratch)
    system = pp_harness.Pennypost(scratch, relay_retry_time="2s", smtp_connection_cache_on_demand="no",
                                  smtp_helo_timeout="20s").relay_to(bad, good).start()
    name = rf"\[127\.0\.0\.1\]:{bad.port}"
    mails(system, 1, 3)
    assert len(good.mails) == 3 and not bad.mails
    assert bad.connections == 1
    system.log.wait_for(rf"qmgr\[\d+\]: warning: relay {name} is left alone for 2 s, "
                        rf"until \d\d:\d\d:\d\d: .*{words}")
    # Its time over, one delivery tries it, and the mail goes on to the other; then twice as long.
    count = 3
    while bad.connections == 1:
        count += 1
        mails(system, count, 1)
    system.log.wait_for(rf"relay {name} is left alone for 4 s")
    mails(system, count + 1, 2)
    assert bad.connections == 2 and len(good.mails) == count + 2 and not bad.mails
    trouble["on"] = False
    system.must("postqueue", "-f")  # at once, for whoever knows that it works again
    mails(system, count + 3, 2)
    system.log.wait_for(rf"qmgr\[\d+\]: relay {name} is back")
    assert len(bad.mails) == 2


def test_down_and_many_at_once(scratch):
    """Twenty mails meet a relay that nobody listens at: none of them waits, none is deferred."""
    port = scratch.port()
    good = pp_peers.Sink(scratch)
    system = pp_harness.Pennypost(
        scratch, relayhost=f"[127.0.0.1]:{port}, [127.0.0.1]:{good.port}").start()
    client = system.client()
    for n in range(20):
        system.send(f"u{n}@dest.test", client=client)
    good.wait(20)
    assert not system.log.find("status=deferred")
    assert len(system.log.find("is left alone for 60 s")) == 1
    before = len(system.log.find("Connection refused"))
    mails(system, 20, 10, client=client)
    assert len(system.log.find(r"smtp\[\d+\]: connect to .*Connection refused")) <= before


def test_no_relay_works(scratch):
    """All are tried, each time; the mail says why it waits, and goes when one is back."""
    first, second = (pp_peers.Sink(scratch, answer=lambda verb, _: "421 4.3.2 busy"
                                   if verb == "CONNECT" and state["on"] else None)
                     for _ in range(2))
    state = {"on": True}
    system = pp_harness.Pennypost(scratch).relay_to(first, second).start()
    queue_id = system.send("u@dest.test")
    said = system.wait_status("u@dest.test", "deferred")
    assert "421 4.3.2 busy" in said["text"]
    system.wait_deferred(queue_id)
    assert (first.connections, second.connections) == (1, 1)
    state["on"] = False
    system.must("postqueue", "-f")
    system.wait_removed(queue_id, timeout=TIMEOUT)
    assert len(first.mails) + len(second.mails) == 1


def test_what_is_about_the_message_is_not(scratch):
    """A refused recipient, a full mailbox and a message that is not liked say nothing of a relay."""
    answers = {"RCPT": "452 4.2.2 mailbox quota of this user", "DOT": "554 5.7.1 looks like spam"}
    stage = {"at": "RCPT"}
    relay = pp_peers.Sink(scratch, answer=lambda verb, arg: answers[verb]
                          if verb == stage["at"] and (verb == "DOT" or "bad" in arg) else None)
    other = pp_peers.Sink(scratch)
    system = pp_harness.Pennypost(scratch).relay_to(relay, other).start()
    system.send("bad@dest.test")  # RFC 5321: what is temporary is tried at the next relay
    other.wait(1)
    stage["at"] = "DOT"
    system.send("u@dest.test", sender="")
    assert system.wait_status("u@dest.test", "bounced")["dsn"] == "5.7.1"
    stage["at"] = None
    system.wait_removed(system.send("good@dest.test"))
    assert len(relay.mails) == 1 and not system.log.find("left alone")
