"""filters.py - what tables make of replies and results, and other settings of the client: as Postfix does.

Both systems deliver the same mail to the same kind of server; what becomes of each recipient is compared.
"""

import re

import pp_harness
import pp_peers
import pytest

KINDS = (pp_harness.Pennypost, pp_harness.Postfix)
ANSWERS = {
    "changed": "550 5.1.1 no such user",
    "softened": "554-5.3.0 first\r\n554 5.7.1 go away",
    "hardened": "450 4.2.0 later",
    "kept": "451 4.4.9 as it is",
    "never": "550 5.1.9 cannot be good",
    "broken": "550 5.1.8 bad result",
    "plain": "550 no code",
}
REPLIES = r"""
/^250-PIPELINING/ 250-X-NOTHING
/^550 5\.1\.1 (.*)/ 450 4.1.7 other: $1
/^554-5\.3\.0/ 554-5.3.1 other first
/^554 5\.7\.1 (.*)/ 454 4.7.9 $1
/^250 2\.0\.0 Ok$/ 250 2.0.0 Ok, it says
"""
RESULTS = r"""
/^4\.2\.0 (.*)/ 5.2.9 for good: $1
/^2\.0\.0 (.*says)/ 2.1.7 taken: $1
/^5\.1\.9 / 2.0.0 made good
/^5\.1\.8 / nonsense
/^5\.0\.0 (.*)/ 5.6.7 had no code: $1
"""


def answer(verb, argument):
    who = re.match(r"TO:<(\w+)@", argument) if verb == "RCPT" else None
    return ANSWERS.get(who.group(1)) if who else None


def outcomes(scratch, kind):
    sink = pp_peers.Sink(scratch, answer=answer, extensions=("PIPELINING", "8BITMIME"))
    name = kind.__name__
    files = {n: scratch.file(f"{name}.{n}", text) for n, text in (
        ("replies", REPLIES), ("results", RESULTS))}

    system = kind(scratch, relayhost=f"[127.0.0.1]:{sink.port}", soft_bounce="no",
                  smtp_reply_filter=f"regexp:{files['replies']}",
                  default_delivery_status_filter=f"regexp:{files['results']}",
                  smtp_quote_rfc821_envelope="no").start()
    people = [f"{who}@dest.test" for who in [*ANSWERS, "good"]]
    system.send([*people, '"a b."@dest.test'], sender="x@client.test")
    found = {}
    for who in people:
        said = system.wait_status(who, r"(?P<status>\w+)")
        found[who] = (said["status"], said["dsn"], said["text"])
    system.log.wait_for(r"to=<\"a b\.\"@dest\.test>, .*status=")
    raw = [argument for _, verb, argument in sink.commands if verb == "RCPT" and " b" in argument]
    return found, raw, system


def test_as_postfix(scratch):
    ours, theirs = (outcomes(scratch, kind) for kind in KINDS)
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1] == ["TO:<a b.@dest.test>"]
    assert ours[0]["good@dest.test"] == ("sent", "2.1.7", "taken: 250 2.0.0 Ok, it says")
    assert ours[0]["hardened@dest.test"][:2] == ("bounced", "5.2.9")
    assert ours[0]["changed@dest.test"][:2] == ("deferred", "4.1.7")
    ours[2].log.wait_for(r"warning: delivery status filter: .*success and failure stay what they are")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["-f", "-i"])
def test_a_flush_overrides_defer_transports(scratch, sink, kind, how):
    system = kind(scratch, relayhost=f"[127.0.0.1]:{sink.port}", defer_transports="smtp").start()
    queue_id = system.send("u@dest.test")
    said = system.wait_status("u@dest.test", "deferred")
    assert said["text"] == "deferred transport"
    system.wait_deferred(queue_id)
    system.must("postqueue", *([how] if how == "-f" else [how, queue_id]))
    system.wait_removed(queue_id)


def test_dane_without_dnssec_is_told(scratch, sink):
    system = pp_harness.Pennypost(scratch, relayhost=f"[127.0.0.1]:{sink.port}",
                                  smtp_tls_security_level="dane").start()
    system.log.wait_for("warning: smtp_tls_security_level = dane has no effect without "
                        "smtp_dns_support_level = dnssec")
    system.wait_removed(system.send("u@dest.test"))
    system.log.wait_for(rf"warning: \[127\.0\.0\.1\]:{sink.port}: dane configured with dnssec lookups disabled")
