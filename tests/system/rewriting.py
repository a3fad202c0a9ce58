"""rewriting.py - checks and address tables on the way out, beside Postfix with the same tables."""

import re

import pp_harness
import pp_peers

HEADER_CHECKS = """\
/^X-Ignore:/ IGNORE
/^X-Strip:/ STRIP for a reason
/^X-Warn:/ WARN look at this
/^X-Info:/ INFO
/^X-Dunno:/ DUNNO
/^X-Replace: (.*)/ REPLACE X-Replaced: was $1
/^X-Bad-Replace:/ REPLACE no header
/^X-Prepend:/ PREPEND X-Before: here
/^X-Folded: a\\n b/ REPLACE X-Unfolded: yes
/^X-Reject:/ REJECT not here
/^X-Nonsense:/ NONSENSE
/^Content-Type:/ REPLACE X-Never: this is a MIME header
/^Subject: inside/ REPLACE X-Never: this is nested
"""
MIME_CHECKS = "/^Content-Disposition: (.*)/ REPLACE Content-Disposition: inline; x=$1\n"
NESTED_CHECKS = "/^Subject: inside/ REPLACE Subject: seen inside\n"
BODY_CHECKS = """\
/^ignore me/ IGNORE
/^replace me/ REPLACE replaced
/^prepend me/ PREPEND before
/^warn me/ WARN oh
/^strip me/ STRIP
"""
GENERIC = """\
kate@in.test kate@example.com
joe joe@example.com
@sub.in.test @example.org
bob+list@in.test lists@example.com
anna@in.test "anna maria"@example.com
bare@in.test public
"""
TEXT = """\
From: Kate <kate@in.test>
To: "Joe, (x)" <joe@mine.test>, friends: a@sub.in.test, bob+list@in.test;, other@far.test
Cc: anna@in.test (Anna), <bare@in.test>,
 bob@in.test
Reply-To: kate@in.test, kate@in.test
Subject: kate@in.test
Message-Id: <1@in.test>
Date: Sat, 21 Nov 2026 12:00:00 +0000
X-Ignore: 1
X-Strip: 2
X-Warn: 3
X-Info: 4
X-Dunno: 5
X-Replace: 6
X-Bad-Replace: 7
X-Prepend: 8
X-Folded: a
 b
X-Reject: 9
X-Nonsense: 10
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain
Content-Disposition: attachment

ignore me
replace me
prepend me
warn me
strip me
keep me
--b
Content-Type: message/rfc822

From: kate@in.test
Subject: inside

text
--b--
"""


def played(scratch, kind, **main):
    """(mail as it arrived, lines of the smtp client)"""
    sink = pp_peers.Sink(scratch)
    table = scratch.file
    system = kind(
        scratch, mydestination="mine.test", myorigin="in.test", recipient_delimiter="+",
        smtp_header_checks="regexp:" + table("header", HEADER_CHECKS),
        smtp_mime_header_checks="regexp:" + table("mime", MIME_CHECKS),
        smtp_nested_header_checks="regexp:" + table("nested", NESTED_CHECKS),
        smtp_body_checks="regexp:" + table("body", BODY_CHECKS),
        smtp_generic_maps="texthash:" + table("generic", GENERIC), **main).relay_to(sink).start()
    client = system.client()
    client.ehlo()
    assert client.mail("kate@in.test")[0] == 250
    for who in ("someone@far.test", "x@sub.in.test", "anna@in.test"):
        assert client.rcpt(who)[0] == 250
    assert client.data(TEXT.replace("\n", "\r\n"))[0] == 250
    (mail,) = sink.wait(1)
    system.log.wait_for("removed")
    lines = [re.sub(r"^.*smtp\[\d+\]: (?:warning: )?\w+: ", "", m.string) for m in
             system.log.find(r"smtp\[\d+\]: \w+: \w+: (?:header|body) ")]
    delivered = [re.sub(r"^.*: (to=<[^>]*>), .*(dsn=.*)", r"\1 \2", m.string)
                 for m in system.log.find(r"smtp\[\d+\]: \w+: to=<")]
    return mail, lines, delivered


def test_as_postfix_rewrites(scratch):
    want, want_lines, want_delivered = played(scratch, pp_harness.Postfix)
    got, got_lines, got_delivered = played(scratch, pp_harness.Pennypost)
    assert (got.sender, sorted(got.recipients)) == (want.sender, sorted(want.recipients))

    def content(mail):
        """Lines; where a header is folded may differ: Postfix writes all of it anew."""
        text = re.sub(r"\r\n[ \t]+", " ", mail.data.decode())
        return [re.sub(" +", " ", line) for line in text[text.index("From: "):].split("\r\n")]

    assert content(got) == content(want)
    assert len(want_lines) > 8
    assert got_lines == want_lines
    assert sorted(got_delivered) == sorted(want_delivered)


def test_table_that_cannot_be_used(scratch, sink):
    """The mail waits, and the reason names the table."""
    for name in ("smtp_generic_maps", "smtp_header_checks", "smtp_body_checks"):
        kind = "texthash" if name == "smtp_generic_maps" else "regexp"
        system = pp_harness.Pennypost(scratch, name=name.replace("_", ""),
                                      **{name: f"{kind}:/does/not/exist"}).relay_to(sink).start()
        system.send("user@dest.test")
        said = system.wait_status("user@dest.test", "deferred")
        assert said["dsn"] == "4.3.0"
        assert said["text"].startswith(f"{name} lookup error: "), said["text"]
        assert "/does/not/exist" in said["text"]
        system.stop()
    assert sink.mails == []
