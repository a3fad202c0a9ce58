"""international.py - addresses in UTF-8: who is told SMTPUTF8, and what becomes of those who lack it."""

import pp_harness
import pp_peers

USUAL = ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"]
LACKS = "SMTPUTF8 is required, but was not offered by host 127.0.0.1[127.0.0.1]"
# Sender, recipient, subject, whether the client says SMTPUTF8; then what a server that offers it is
# told (sender, recipient, SMTPUTF8?), and one that does not, None: nothing.
PLAIN = ("s@a.test", "r@b.test", False)
CASES = [
    ("s@a.test", "r@b.test", "x", False, PLAIN, PLAIN),
    ("s@a.test", "r@b.test", "x", True, PLAIN, PLAIN),
    # Only an address needs it: a header is 8-bit text.
    ("s@a.test", "r@b.test", "gr\u00fc\u00df", True, PLAIN, PLAIN),
    ("s\u00e9@a.test", "r@b.test", "x", True, ("s\u00e9@a.test", "r@b.test", True), None),
    ("s@a.test", "r\u00e9@b.test", "x", True, ("s@a.test", "r\u00e9@b.test", True), None),
    # Who did not ask for it gets what Postfix does: it goes as it is.
    ("s@a.test", "r\u00e9@b.test", "x", False, ("s@a.test", "r\u00e9@b.test", True),
     ("s@a.test", "r\u00e9@b.test", False)),
    # A domain can be said in ASCII.
    ("s@a.test", "r@b\u00fccher.test", "x", True, ("s@a.test", "r@b\u00fccher.test", True),
     ("s@a.test", "r@xn--bcher-kva.test", False)),
    ("s@B\u00dcCHER.test", "r@b.test", "x", True, ("s@B\u00dcCHER.test", "r@b.test", True),
     ("s@xn--bcher-kva.test", "r@b.test", False)),
    ("s@b\u00fccher.test", "r\u00e9@b\u00fccher.test", "x", True,
     ("s@b\u00fccher.test", "r\u00e9@b\u00fccher.test", True), None),
]


def send(system, sender, recipients, subject="x", declared=True):
    client = system.client()
    client.ehlo()

    def say(line):
        client.send(line.encode() + b"\r\n")
        code, answer = client.getreply()
        assert code in (250, 354), (line, answer)

    say(f"MAIL FROM:<{sender}> BODY=8BITMIME{' SMTPUTF8' if declared else ''}")
    for recipient in recipients:
        say(f"RCPT TO:<{recipient}> NOTIFY=NEVER")
    say("DATA")
    say(f"Subject: {subject}\r\n\r\nbody\r\n.")
    client.close()


def told(sink, since):
    """(sender, recipients.., SMTPUTF8?) of the mail after `since` commands."""
    words = [(verb, text) for _, verb, text in sink.commands[since:] if verb in ("MAIL", "RCPT")]
    return tuple(text.split("<")[1].split(">")[0] for _, text in words) + (
        "SMTPUTF8" in words[0][1],) if words else None


def system(scratch, sink, name, **main):
    return pp_harness.Pennypost(scratch, name=name, relayhost=f"[127.0.0.1]:{sink.port}",
                                smtputf8_enable="yes", **main).start()


def check(scratch, name, offers, column):
    sink = pp_peers.Sink(scratch, extensions=offers)
    s = system(scratch, sink, name)
    for case in CASES:
        since, mark = len(sink.commands), s.log.mark()
        send(s, case[0], [case[1]], *case[2:4])
        s.log.wait_for(r"qmgr\[\d+\]: \w+: removed", since=mark)
        want = case[4 + column]
        said = s.log.find(r": to=<.*>, .*dsn=(\S+), status=(\w+) \((.*)\)$", since=mark)[0]
        assert told(sink, since) == want, case
        if want:
            assert (said[1], said[2]) == ("2.0.0", "sent"), case
        else:
            assert (said[1], said[2], said[3]) == ("5.6.7", "bounced", LACKS), case


def test_offered(scratch):
    check(scratch, "has", USUAL + ["SMTPUTF8"], 0)


def test_not_offered(scratch):
    check(scratch, "lacks", USUAL, 1)


def test_each_recipient_for_itself(scratch):
    """Also where what cannot be sent waits: nobody is told of it in the meantime."""
    sink = pp_peers.Sink(scratch, extensions=USUAL)
    s = system(scratch, sink, "hard")
    send(s, "s@a.test", ["r1@b.test", "r\u00e9@b.test", "r2@b.test"])
    s.wait_status("r1@b.test", "sent")
    s.wait_status("r2@b.test", "sent")
    assert s.wait_status("r\u00e9@b.test", "bounced")["dsn"] == "5.6.7"
    soft, since = system(scratch, sink, "soft", soft_bounce="yes"), len(sink.commands)
    send(soft, "s@a.test", ["r1@b.test", "r\u00e9@b.test"])
    soft.wait_status("r1@b.test", "sent")
    assert soft.wait_status("r\u00e9@b.test", "deferred")["dsn"] == "4.6.7"
    assert told(sink, since) == ("s@a.test", "r1@b.test", False)


def test_after_rewriting(scratch):
    """What counts is the address that is sent."""
    sink = pp_peers.Sink(scratch, extensions=USUAL)
    s = system(scratch, sink, "generic",
               smtp_generic_maps="inline:{{ s\u00e9@a.test = public@a.test }}")
    send(s, "s\u00e9@a.test", ["r@b.test"])
    s.wait_status("r@b.test", "sent")
    assert told(sink, 0) == ("public@a.test", "r@b.test", False)


def test_name_service(scratch):
    """It is asked for A-labels."""
    sink = pp_peers.Sink(scratch, extensions=USUAL + ["SMTPUTF8"])
    dns = pp_peers.Dns(scratch, {"xn--bcher-kva.test": "@ MX 10 mx\nmx A 127.0.0.1\n"})
    s = pp_harness.Pennypost(scratch, smtputf8_enable="yes", smtp_tcp_port=str(sink.port),
                             dns_resolvers=f"127.0.0.1:{dns.port}").start()
    send(s, "s@a.test", ["r@b\u00fccher.test"])
    said = s.wait_status("r@b\u00fccher.test", "sent")
    assert said["relay"] == f"mx.xn--bcher-kva.test[127.0.0.1]:{sink.port}"
    assert told(sink, 0) == ("s@a.test", "r@b\u00fccher.test", True)


def test_detected(scratch):
    """smtputf8_autodetect_classes: a mail of sendmail says it by itself, one of a client where asked."""
    sink = pp_peers.Sink(scratch, extensions=USUAL)
    for name, classes, status in (("none", "verify", "sent"), ("all", "all", "bounced")):
        s = system(scratch, sink, name, smtputf8_autodetect_classes=classes)
        send(s, "s@a.test", ["r\u00e9@b.test"], declared=False)
        s.wait_status("r\u00e9@b.test", status)
