"""lmtp.py - LMTP: a scripted server for what goes wrong, and Dovecot's for what must go right."""

import base64
import os
import re

import pp_dovecot
import pp_harness
import pp_peers
import pp_shapes
import pytest

ROWS = pp_harness.SMTPD + "lmtp unix - - n - - lmtp\n"


def reply(word):
    """What the scripted server answers to the dot, for the recipient that has this word."""
    return {"ok": "250 2.0.0 <{}> stored", "full": "452 4.2.2 <{}> is over quota",
            "gone": "550 5.1.1 <{}> unknown after all"}[word]


def system(scratch, nexthop, name="pp", **main):
    values = {"local_transport": f"lmtp:{nexthop}", "mydestination": "box.test",
              "local_recipient_maps": ""}
    values.update(main)
    return pp_harness.Pennypost(scratch, name, services=ROWS, **values)


@pytest.mark.parametrize("by", ["unix", "inet", "relative"])
def test_a_reply_for_each_recipient(scratch, by):
    path = os.path.join(scratch.path, "pp-spool" if by == "relative" else "", "lmtp.sock")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    chunks = ["CHUNKING"] if by == "unix" else []
    server = pp_peers.Sink(scratch, path=None if by == "inet" else path,
                    extensions=["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", *chunks],
                    each=lambda rcpt: reply(rcpt.split("@")[0].rstrip("0123456789")).format(rcpt),
                    answer=lambda verb, arg: "550 5.1.1 no such user"
                    if verb == "RCPT" and "nobody" in arg else None)
    nexthop = {"unix": f"unix:{path}", "relative": "unix:lmtp.sock",
               "inet": f"inet:127.0.0.1:{getattr(server, 'port', 0)}"}[by]
    s = system(scratch, nexthop).start()
    relay = {"unix": rf"pp\.pennypost\.test\[{path}\]", "relative": r"pp\.pennypost\.test\[lmtp\.sock\]",
             "inet": rf"127\.0\.0\.1\[127\.0\.0\.1\]:{getattr(server, 'port', 0)}"}[by]
    who = ["ok1@box.test", "full1@box.test", "nobody@box.test", "gone1@box.test", "ok2@box.test"]
    queue_id = s.send(who, sender="")

    def check(to, status, dsn, text):
        said = s.wait_status(to, status)
        assert re.fullmatch(relay, said["relay"]), said[0]
        assert said["dsn"] == dsn and re.fullmatch(text, said["text"]), said[0]
        assert "/lmtp[" in said.string

    host = rf"host {relay}".rsplit(":", 1)[0] if by == "inet" else rf"host {relay}"
    check("ok1@box.test", "sent", "2.0.0", r"250 2\.0\.0 <ok1@box\.test> stored")
    check("ok2@box.test", "sent", "2.0.0", r"250 2\.0\.0 <ok2@box\.test> stored")
    check("full1@box.test", "deferred", "4.2.2",
          host + r" said: 452 4\.2\.2 <full1@box\.test> is over quota \(in reply to end of DATA command\)")
    check("gone1@box.test", "bounced", "5.1.1",
          host + r" said: 550 5\.1\.1 <gone1@box\.test> unknown after all \(in reply to end of DATA command\)")
    check("nobody@box.test", "bounced", "5.1.1",
          host + r" said: 550 5\.1\.1 no such user \(in reply to RCPT TO command\)")
    s.wait_deferred(queue_id)
    assert [verb for _, verb, _ in server.commands if verb in ("EHLO", "HELO", "LHLO")] == ["LHLO"]
    assert [verb for _, verb, _ in server.commands if verb in ("BDAT", "DATA")] == [
        "BDAT" if chunks else "DATA"]
    # The connection is kept: the next mail comes over it.
    s.send("ok3@box.test")
    s.log.wait_for(r"to=<ok3@box\.test>, .*conn_use=2, .*status=sent")
    assert server.connections == 1


def test_what_goes_wrong(scratch):
    """LHLO refused, no recipient left, and a connection that breaks between two replies."""
    step = {}

    def answer(verb, argument):
        if verb == "LHLO":
            return step.get("lhlo")
        if verb == "RCPT" and "no" in argument:
            return "550 5.1.1 no"
        return None

    def each(rcpt):
        return "" if rcpt.startswith("cut") else f"250 2.1.5 {rcpt}"

    server = pp_peers.Sink(scratch, answer=answer, each=each)
    s = system(scratch, f"inet:[127.0.0.1]:{server.port}").start()
    s.send(["no1@box.test", "no2@box.test"], sender="")
    for name in ("no1", "no2"):
        assert s.wait_status(f"{name}@box.test", "bounced")["dsn"] == "5.1.1"
    queue_id = s.send(["ok@box.test", "cut@box.test", "never@box.test"])
    s.wait_status("ok@box.test", "sent")
    for name in ("cut", "never"):
        said = s.wait_status(f"{name}@box.test", "deferred")
        assert said["dsn"] == "4.4.2" and said["text"] == (
            "lost connection with 127.0.0.1[127.0.0.1] while sending end of data -- "
            "message may be sent more than once")
    s.wait_deferred(queue_id)
    step["lhlo"] = "502 5.5.1 what is that"
    s.send("bad@box.test")
    said = s.wait_status("bad@box.test", "(?:deferred|bounced)")
    assert said["text"] == ("host 127.0.0.1[127.0.0.1] refused to talk to me: "
                            "502 5.5.1 what is that")
    assert not [1 for _, verb, _ in server.commands if verb in ("HELO", "EHLO")]


def test_no_socket(scratch):
    s = system(scratch, "unix:/nowhere/lmtp").start()
    s.send("u@box.test")
    said = s.wait_status("u@box.test", "deferred")
    assert (said["relay"], said["dsn"], said["text"]) == (
        "none", "4.4.1", "connect to pp.pennypost.test[/nowhere/lmtp]: No such file or directory")


@pytest.mark.parametrize("by", ["unix", "inet"])
def test_dovecot_over_tls(scratch, root, ca, by):
    """STARTTLS after LHLO, the name checked, chunks behind it; a wrong name gets no mail."""
    dovecot = pp_dovecot.Dovecot(scratch, {"you@box.test": None}, ca.issue("box.peer.test"))
    nexthop = f"unix:{dovecot.path}" if by == "unix" else f"inet:127.0.0.1:{dovecot.port}"
    tls = {"lmtp_tls_security_level": "secure", "lmtp_tls_CAfile": ca.file, "lmtp_tls_loglevel": "1"}
    s = system(scratch, nexthop, lmtp_tls_secure_cert_match="box.peer.test", **tls).start()
    for number in range(3):
        s.send("you@box.test", subject=f"number {number}", body=".\r\n" + "x" * 70000 * number + "\r\n")
    s.log.wait_for(r"to=<you@box\.test>, .*status=sent", count=3)
    assert len(dovecot.mails("you@box.test")) == 3
    assert s.log.find(r"lmtp\[\d+\]: Verified TLS connection established to ")
    s = system(scratch, nexthop, name="other", lmtp_tls_secure_cert_match="other.peer.test", **tls).start()
    s.send("you@box.test")
    said = s.wait_status("you@box.test", "deferred")
    assert said["dsn"] == "4.7.5" and "certificate not verified" in said["text"], said[0]


@pytest.mark.parametrize("kind", [pp_harness.Pennypost, pp_harness.Postfix])
def test_login(scratch, ca, kind):
    """AUTH, which is offered under TLS only; the mail says who."""
    kate = base64.b64encode(b"\0kate\0s3cret").decode()
    server = pp_peers.Sink(
        scratch, certificate=ca.issue("box.peer.test"), each=lambda rcpt: f"250 2.1.5 {rcpt}",
        extensions=["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "AUTH PLAIN LOGIN"],
        answer=lambda verb, arg: None if verb != "AUTH"
        else "235 2.7.0 welcome" if arg == f"PLAIN {kate}" else "535 5.7.8 no")
    passwords = scratch.file("lmtp_passwd", f"[127.0.0.1]:{server.port} kate:s3cret\n")
    main = {"mydestination": "box.test", "local_recipient_maps": "",
            "local_transport": f"lmtp:inet:[127.0.0.1]:{server.port}",
            "lmtp_tls_security_level": "encrypt", "lmtp_sasl_auth_enable": "yes",
            "lmtp_sasl_password_maps": f"texthash:{passwords}", "lmtp_sasl_mechanism_filter": "plain",
            "lmtp_sasl_security_options": "noplaintext, noanonymous",
            "lmtp_sasl_tls_security_options": "noanonymous"}
    rows = {"services": ROWS} if kind is pp_harness.Pennypost else \
        {"rows": "lmtp unix - - n - - lmtp\n"}
    s = kind(scratch, **rows, **main).start()
    s.send("you@box.test")
    s.wait_status("you@box.test", "sent")
    verbs = [(verb, text) for _, verb, text in server.commands if verb in ("AUTH", "LHLO", "STARTTLS")]
    assert [verb for verb, _ in verbs] == ["LHLO", "STARTTLS", "LHLO", "AUTH"]
    assert verbs[-1][1] == f"PLAIN {kate}"


@pytest.mark.parametrize("by", ["unix", "inet"])
def test_dovecot(scratch, root, by):
    """Dovecot takes all shapes unchanged, and says of each recipient what it says."""
    dovecot = pp_dovecot.Dovecot(scratch, {"you@box.test": None, "full@box.test": 10})
    nexthop = f"unix:{dovecot.path}" if by == "unix" else f"inet:127.0.0.1:{dovecot.port}"
    s = system(scratch, nexthop, local_header_rewrite_clients="").start()
    s.send(["full@box.test", "you@box.test", "stranger@box.test"], sender="")
    said = s.wait_status("stranger@box.test", "bounced")
    assert said["dsn"] == "5.1.1" and "550 5.1.1 <stranger@box.test> User doesn't exist" in said["text"]
    assert s.wait_status("you@box.test", "sent")["dsn"] == "2.0.0"
    said = s.wait_status("full@box.test", "deferred")
    assert said["dsn"] == "4.2.2" and "Quota exceeded" in said["text"]
    shapes = pp_shapes.contents()
    assert len(shapes) >= 90, len(shapes)
    client = s.client()
    client.ehlo()
    pp_shapes.send_all(client, "you@box.test", shapes)
    s.log.wait_for(r"to=<you@box\.test>, .*status=sent", count=1 + len(shapes))
    # Their names in the maildir do not sort by time: microseconds have no leading zeros.
    pp_shapes.check(shapes, [mail for mail in dovecot.mails("you@box.test")
                             if b"Message-ID: <test@client.test>" not in mail])
    assert len(dovecot.log.find("Connect from")) <= 60
