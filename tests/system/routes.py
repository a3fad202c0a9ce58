"""routes.py - which way mail goes: the same as Postfix's trivial-rewrite says, table by table."""

import os
import re

import pp_harness
import pp_peers
import pp_rewrite
import pytest

BASE = {"myhostname": "mail.me.test", "mydomain": "me.test", "myorigin": "me.test",
        "mydestination": "me.test, localhost", "relay_domains": "relay.test, .sub.test",
        "virtual_mailbox_domains": "vmail.test", "virtual_alias_domains": "valias.test",
        "virtual_alias_maps": "", "inet_interfaces": "127.0.0.1", "recipient_delimiter": "+"}

EVERYBODY = ["u@me.test", "u@localhost", "u@relay.test", "u@vmail.test", "u@valias.test",
             "u@else.test", "u@[127.0.0.1]", "u@[192.0.2.1]"]
SENDERS = ["a@vip.test", "a+x@vip.test", "b@vip.test", "B@VIP.test", "c@dom.test", "d@none.test",
           "", "local@me.test", "ext+x@me.test"]

# name: (parameters, senders, recipients); {dir} is the folder with the tables
TABLES = {
    "plain": ({}, ["a@b.test"], EVERYBODY + [
        "u@relay.test.", "U@Else.Test", "u@x.sub.test", "u@sub.test", "u@a.me.test", "",
        "u@a.relay.test", "u@[IPv6:2001:db8::1]", "u+x@else.test", '"a b"@else.test']),
    "transport": ({"transport_maps": "hash:{dir}/transport"}, ["a@b.test"], EVERYBODY + [
        "full@x.test", "full+ext@x.test", "ext+one@x.test", "ext+two@x.test", "ext@x.test",
        "FULL@X.TEST", "other@x.test", "u@sub.x.test", "u@a.b.parent.test", "u@parent.test",
        "u@both.test", "u@s.both.test", "u@deep.s.both.test", "u@null.test", "u@channel.test",
        "u@hop.test", "u@bare.test", "u@error.test", "u@errorempty.test", "u@retryempty.test",
        "u@retry.test", "u@discard.test", "u@lmtpunix.test", "u@lmtpinet.test", "u@port.test",
        "u@list.test", "u@mx.test", "u@Case.Test", "u@[192.0.2.9]", "owner-x+y@x.test",
        "localpart@else.test", "u@at.test", "u@blank.test", "u@mixed.test", "", "u@dot.test.",
        "wild@relay.test", "mailer-daemon+x@x.test", "u@smtponly.test", "u@dunno.test"]),
    "wildcard": ({"transport_maps": "hash:{dir}/wildcard"}, ["a@b.test"],
                 EVERYBODY + ["u@null.test", "u@a.null.test", ""]),
    "wildhop": ({"transport_maps": "inline:{{ {{*=:[only-hop]}} }}"}, ["a@b.test"], EVERYBODY),
    "wildnull": ({"transport_maps": "inline:{{ {{*=:}} }}", "relayhost": "[out.test]"},
                 ["a@b.test"], EVERYBODY),
    "parents": ({"transport_maps": "hash:{dir}/transport",
                 "parent_domain_matches_subdomains": "transport_maps"}, ["a@b.test"],
                ["u@sub.x.test", "u@a.parent.test", "u@s.both.test", "u@hop.test", "u@a.hop.test"]),
    "parentlists": ({"parent_domain_matches_subdomains": "relay_domains"}, ["a@b.test"],
                    ["u@a.relay.test", "u@x.sub.test", "u@a.vmail.test"]),
    "regexp": ({"transport_maps": "regexp:{dir}/regexp"}, ["a@b.test"], EVERYBODY + [
        "rx@any.test", "RX@ANY.test", "rx+e@any.test", "u@sub.rxdom.test", "Case@rx.test",
        "case@rx.test", "u@star.test"]),
    "rx": ({"transport_maps": "regexp:{dir}/pcre"}, ["a@b.test"], ["rx@any.test"]),
    "pcre": ({"transport_maps": "pcre:{dir}/pcre"}, ["a@b.test"], [
        "rx@any.test", "rx+e@any.test", "u@sub.rxdom.test", "Case@rx.test", "case@rx.test"]),
    "two": ({"transport_maps": "regexp:{dir}/regexp hash:{dir}/transport"}, ["a@b.test"], [
        "rx@x.test", "full@x.test", "full+ext@x.test", "u@sub.x.test", "u@hop.test"]),
    "twoback": ({"transport_maps": "hash:{dir}/wildcard regexp:{dir}/regexp"}, ["a@b.test"], [
        "rx@x.test", "u@null.test", "u@else.test"]),
    "static": ({"transport_maps": "static:slow:[s.test]"}, ["a@b.test"], EVERYBODY),
    "nodelim": ({"transport_maps": "hash:{dir}/transport", "recipient_delimiter": ""},
                ["a@b.test"], ["full+ext@x.test", "ext+one@x.test"]),
    "dashes": ({"transport_maps": "hash:{dir}/transport", "recipient_delimiter": "-+"},
               ["a@b.test"], ["full-ext@x.test", "owner-full@x.test", "full-request@x.test"]),
    "relayhost": ({"relayhost": "[out.test]:587"}, ["a@b.test", ""], EVERYBODY),
    "channels": ({"relayhost": "[out.test]", "default_transport": "slow:[def.test]:26",
                  "relay_transport": "inner:[in.test]", "virtual_transport": "lmtp:unix:v/lmtp",
                  "local_transport": "lmtp:inet:127.0.0.1:24"}, ["a@b.test"], EVERYBODY),
    "channelless": ({"default_transport": "slow:", "relay_transport": "inner",
                     "relayhost": "[out.test]", "local_transport": "local"}, ["a@b.test"],
                    EVERYBODY),
    "errors": ({"default_transport": "error:5.7.1 no mail out", "relayhost": "[out.test]",
                "relay_transport": "retry:4.2.0 later", "virtual_transport": "discard:gone"},
               ["a@b.test"], EVERYBODY),
    "errorempty": ({"default_transport": "error", "relay_transport": "retry:",
                    "relayhost": "[o.test]"}, ["a@b.test"], EVERYBODY),
    "errorsmaps": ({"default_transport": "error:5.7.1 no mail out",
                    "transport_maps": "hash:{dir}/transport"}, ["a@b.test"],
                   ["u@hop.test", "u@channel.test", "u@else.test", "u@null.test"]),
    "senderrelay": ({"sender_dependent_relayhost_maps": "hash:{dir}/senderrelay",
                     "relayhost": "[out.test]"}, SENDERS,
                    ["u@else.test", "u@relay.test", "u@me.test"]),
    "senderrelaynone": ({"sender_dependent_relayhost_maps": "hash:{dir}/senderrelay"}, SENDERS,
                        ["u@else.test"]),
    "senderrelaychan": ({"sender_dependent_relayhost_maps": "hash:{dir}/senderrelay",
                         "default_transport": "slow:[def.test]", "relay_transport": "inner"},
                        SENDERS, ["u@else.test", "u@relay.test"]),
    "senderrelaymap": ({"sender_dependent_relayhost_maps": "hash:{dir}/senderrelay",
                        "transport_maps": "hash:{dir}/transport"}, ["a@vip.test"],
                       ["u@hop.test", "u@channel.test", "u@null.test", "u@else.test"]),
    "sendertransport": ({"sender_dependent_default_transport_maps": "hash:{dir}/sendertransport",
                         "relayhost": "[out.test]"},
                        SENDERS + ["hop@dom2.test", "chan@dom2.test", "bare@dom2.test",
                                   "err@dom2.test", "errtext@dom2.test", "null@dom2.test",
                                   "errbare@dom2.test"],
                        ["u@else.test", "u@relay.test"]),
    "sendertransportdef": ({"sender_dependent_default_transport_maps":
                            "hash:{dir}/sendertransport",
                            "default_transport": "slow:[def.test]"},
                           ["a@vip.test", "hop@dom2.test", "chan@dom2.test", "bare@dom2.test",
                            "null@dom2.test", "c@dom.test", "err@dom2.test"], ["u@else.test"]),
    "senderregexp": ({"sender_dependent_relayhost_maps": "regexp:{dir}/senderregexp"},
                     ["a@rx.test", "A@RX.test", "", "x@y.test"], ["u@else.test"]),
    "nullkeys": ({"sender_dependent_relayhost_maps": "hash:{dir}/senderrelay",
                  "empty_address_relayhost_maps_lookup_key": "nobody@null.test",
                  "sender_dependent_default_transport_maps": "hash:{dir}/sendertransport",
                  "empty_address_default_transport_maps_lookup_key": "chan@dom2.test"}, [""],
                 ["u@else.test", "u@relay.test"]),
    "lists": ({"mydestination": "hash:{dir}/domains", "relay_domains": "!no.rel.test, "
               "hash:{dir}/relaydomains", "virtual_mailbox_domains": "inline:{{ {{v.test=x}} }}",
               "virtual_alias_domains": "hash:{dir}/aliasdomains"}, ["a@b.test"],
              ["u@mine.test", "u@a.mine.test", "u@rel.test", "u@a.rel.test", "u@no.rel.test",
               "u@v.test", "u@al.test", "u@else.test", "u@MINE.test"]),
    "listssub": ({"relay_domains": "hash:{dir}/relaydomains",
                  "parent_domain_matches_subdomains": "relay_domains"}, ["a@b.test"],
                 ["u@rel.test", "u@a.rel.test", "u@dot.test", "u@a.dot.test"]),
    "missing": ({"transport_maps": "texthash:{dir}/nothing-here"}, ["a@b.test"],
                ["u@else.test", "u@me.test"]),
    "missingsender": ({"sender_dependent_relayhost_maps": "texthash:{dir}/nothing-here"},
                      ["a@b.test"], ["u@else.test", "u@me.test", "u@vmail.test"]),
    "missinglist": ({"relay_domains": "texthash:{dir}/nothing-here"}, ["a@b.test"],
                    ["u@else.test", "u@me.test"]),
    "relocated": ({"relocated_maps": "hash:{dir}/relocated",
                   "transport_maps": "hash:{dir}/transport"}, ["a@b.test"],
                  ["gone@hop.test", "gone+x@hop.test", "u@hop.test", "local@me.test",
                   "u@moved.test"]),
    "emptyrcpt": ({"empty_address_recipient": "pm@else.test",
                   "transport_maps": "inline:{{ {{pm@else.test=slow:[pm]}} }}"}, [""], [""]),
}

FILES = {
    "transport": """\
full@x.test\tslow:[full]
ext+one@x.test slow:[one]
ext@x.test slow:[ext]
x.test slow:[x]
.x.test slow:[dotx]
.parent.test slow:[parent]
both.test slow:[both]
.both.test slow:[dotboth]
null.test :
channel.test slow:
hop.test :[hop.test]:2525
bare.test slow
error.test error:5.7.1 no mail for you
errorempty.test error:
retryempty.test retry:
retry.test retry:4.2.1 try later
discard.test discard:
lmtpunix.test lmtp:unix:/run/lmtp
lmtpinet.test lmtp:inet:[127.0.0.1]:24
port.test smtp:[h.test]:2525
list.test smtp:[a.test], [b.test]:26
mx.test smtp:m.test
case.test SLOW:[Case.Test]
[192.0.2.9] slow:[lit]
localpart slow:[localpart]
@at.test slow:[at]
blank.test slow: [blank]
mixed.test Slow:Next.Hop
smtponly.test smtp:smtponly
dunno.test DUNNO
wild@relay.test slow:[wild]
mailer-daemon@mail.me.test slow:[nobody]
mailer-daemon@me.test slow:[nobody-me]
mailer-daemon@x.test slow:[md]
owner-x@x.test slow:[owner]
me.test :
""",
    "wildcard": "* slow:[wild]\nnull.test :\n.null.test :\n",
    "regexp": """\
/^rx@/ slow:[rx]
/@rxdom\\.test$/ slow:[rxdom]
/^Case@rx/i slow:[case]
/^\\*$/ slow:[star]
""",
    "pcre": "/^rx@/ slow:[rx]\n/@rxdom\\.test$/ slow:[rxdom]\n/^Case@rx/i slow:[case]\n",
    "senderrelay": """\
a@vip.test [a-relay.test]
@vip.test [vip-relay.test]:587
c@dom.test DUNNO
@dom.test [dom-relay.test]
<> [null-relay.test]
nobody@null.test [nobody-relay.test]
local [local-relay.test]
ext [ext-relay.test]
""",
    "sendertransport": """\
a@vip.test slow:[a-hop.test]
@vip.test vip:
c@dom.test DUNNO
@dom.test slow:[dom]
<> nulls:[nulls.test]
hop@dom2.test :[onlyhop.test]
chan@dom2.test slow:
bare@dom2.test slow
err@dom2.test error:
errtext@dom2.test error:5.7.1 not you
null@dom2.test :
errbare@dom2.test error
local slow:[localsender]
""",
    "senderregexp": "/@rx\\.test$/ [rx-relay.test]\n/^<>$/ [null-rx.test]\n",
    "domains": "mine.test x\n",
    "relaydomains": "rel.test x\n.dot.test x\n",
    "aliasdomains": "al.test x\n",
    "relocated": "gone@hop.test new@place.test\nlocal there\n@moved.test elsewhere.test\n",
}
HASHED = ("transport", "wildcard", "senderrelay", "sendertransport", "domains", "relaydomains",
          "aliasdomains", "relocated")


WHY = re.compile(r"/nothing-here: No such file|null transport")


@pytest.fixture(scope="module")
def area():
    import pp_scratch
    area = pp_scratch.Scratch("pp-routes")
    yield area
    area.close()


@pytest.fixture(scope="module")
def oracle(area):
    folder = area.dir("tables")
    for name, text in FILES.items():
        area.file(f"{folder}/{name}", text)
    configs = {name: {key: value.format(dir=folder) for key, value in values.items()}
               for name, (values, _, _) in TABLES.items()}
    oracle = pp_rewrite.Oracle(area, configs, **BASE)
    for name in HASHED:
        oracle.postfix.must("postmap", f"hash:{folder}/{name}")
    return oracle


# Where we differ on purpose: (table, sender, recipient) -> ours. A domain of relay_domains with a
# dot stands for its subdomains whatever parent_domain_matches_subdomains says.
OURS = {("plain", "a@b.test", "u@x.sub.test"): ("relay", "x.sub.test"),
        ("parentlists", "a@b.test", "u@x.sub.test"): ("relay", "x.sub.test")}
# There relayhost, or the domain, becomes the text of the error.
for table, names in (("sendertransport", ("err", "errbare")), ("sendertransportdef", ("err",))):
    OURS |= {(table, f"{name}@dom2.test", "u@else.test"): ("error", "Address is undeliverable")
             for name in names}
# This Postfix has no pcre: the same rules as regexp.
ASKED_AS = {"pcre": "rx"}


@pytest.mark.parametrize("table", TABLES)
def test_as_postfix(area, oracle, root, table):
    values, senders, recipients = TABLES[table]
    folder = os.path.join(area.path, "tables")
    main = {key: value.format(dir=folder) for key, value in values.items()}
    ours = pp_harness.Pennypost(area, name=f"pp-{table}", **dict(BASE, **main))
    wrong = []
    for sender in senders:
        said = ours.must("route", "-f", sender, *recipients).splitlines()
        for recipient, line in zip(recipients, said, strict=True):
            got = tuple(line.split("\t")[1:])
            want = oracle.ask(ASKED_AS.get(table, table), sender, recipient)
            # A domain is kept in lower case, so that its mail is one queue; blanks are trimmed.
            if want[1].lower() in (recipient.partition("@")[2].lower(), f" {got[1]}"):
                want = (want[0], want[1].lower().strip())
            want = OURS.get((table, sender, recipient), want)
            if want == ("retry", "") and got[1].startswith("4.3.0 ") and WHY.search(got[1]):
                continue
            if got != want:
                wrong.append(f"{sender!r} -> {recipient!r}: {got}, Postfix {want}")
    assert not wrong, "\n" + "\n".join(wrong)


ROWS = pp_harness.SMTPD + """\
slow unix - - n - 1 smtp -o syslog_name=postfix/slow -o smtp_helo_name=slow.helo.test
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
stop unix - - n - - error
maildrop unix - n n - - pipe flags=DRhu user=vmail argv=/bin/true
"""


def table_of(scratch, name, text):
    """Written over at once, so that no question meets half of it."""
    path = os.path.join(scratch.path, name)
    scratch.file(f"{path}.new", text)
    os.rename(f"{path}.new", path)
    return path


def test_transport_maps_at_work(scratch, sink):
    """One daemon, every kind of entry; and a changed table is noticed by itself."""
    other = pp_peers.Sink(scratch)
    text = f"""\
slow.test slow:[127.0.0.1]:{other.port}
list.test slow:[127.0.0.1]:{scratch.port()}, [127.0.0.1]:{other.port}
hop.test :[127.0.0.1]:{other.port}
null.test :
error.test error:5.7.1 not for us
stop.test stop:5.3.2 nor here
retry.test retry:4.2.1 later on
discard.test discard:thrown away
pipe.test maildrop:
norow.test nosuch:
.parent.test slow:[127.0.0.1]:{other.port}
changing.test error:5.1.2 not yet
"""
    path = table_of(scratch, "transport", text)
    system = pp_harness.Pennypost(scratch, services=ROWS, transport_maps=f"hash:{path}",
                                  recipient_delimiter="+").relay_to(sink).start()
    names = ["slow", "list", "hop", "null", "error", "stop", "retry", "discard", "pipe", "norow",
             "a.parent", "elsewhere", "changing"]
    system.send([f"u@{name}.test" for name in names], sender="")

    def line(name, program, relay, dsn, status, text):
        said = system.log.wait_for(rf"postfix/(?P<program>[\w/]+)\[\d+\]: \w+: to=<u@{name}\.test>, "
                                   r"relay=(?P<relay>[^,]+), .*dsn=(?P<dsn>[\d.]+), "
                                   r"status=(?P<status>\w+) \((?P<text>.*)\)$")
        assert (said["program"], said["dsn"], said["status"]) == (program, dsn, status)
        assert re.fullmatch(relay, said["relay"]) and re.match(text, said["text"]), said[0]

    there, here = (rf"127\.0\.0\.1\[127\.0\.0\.1\]:{p.port}" for p in (other, sink))
    for name in ("slow", "list", "a.parent"):
        line(name, "slow/smtp", there, "2.0.0", "sent", "250 2.0.0 Ok")
    line("hop", "smtp", there, "2.0.0", "sent", "250 2.0.0 Ok")
    for name in ("null", "elsewhere"):
        line(name, "smtp", here, "2.0.0", "sent", "250 2.0.0 Ok")
    line("error", "error", "none", "5.7.1", "bounced", "not for us$")
    line("stop", "error", "none", "5.3.2", "bounced", "nor here$")
    line("changing", "error", "none", "5.1.2", "bounced", "not yet$")
    line("retry", "error", "none", "4.2.1", "deferred", "later on$")
    line("discard", "discard", "none", "2.0.0", "sent", "thrown away$")
    line("pipe", "error", "none", "4.3.5", "deferred", ".*has no pipe delivery")
    line("norow", "error", "none", "4.3.0", "deferred", "mail transport unavailable")
    assert all("slow.helo.test" in argument for _, verb, argument in other.commands
               if verb == "EHLO" and argument) or other.connections > 1
    # Without a reload: another way; and a table that is gone makes mail wait, not go astray.
    table_of(scratch, "transport", text.replace("error:5.1.2 not yet", f":[127.0.0.1]:{other.port}"))
    system.wait_removed(system.send("u@changing.test"))
    os.remove(path)
    queue_id = system.send("u@changing.test")
    said = system.wait_status("u@changing.test", "deferred")
    assert said["dsn"] == "4.3.0" and said["text"] == (
        f"transport_maps lookup error: {path}: No such file or directory")
    system.wait_deferred(queue_id)
    table_of(scratch, "transport", text.replace("error:5.1.2 not yet", ":"))
    system.must("postqueue", "-i", queue_id)
    system.wait_removed(queue_id)
    assert [m.recipients for m in sink.mails if "u@changing.test" in m.recipients]


def test_a_bad_line_of_a_table_is_named(scratch, sink):
    path = scratch.file("rules", "/a@/ slow:[x]\n/[/ smtp:\n")
    system = pp_harness.Pennypost(scratch, transport_maps=f"regexp:{path}").relay_to(sink).start()
    system.send("u@any.test")
    said = system.wait_status("u@any.test", "deferred")
    assert said["dsn"] == "4.3.0"
    assert said["text"].startswith("transport_maps lookup error: ") and f"{path}, line 2" in said["text"]


def test_lists_with_tables(scratch, sink):
    """The classes of smtpd's restrictions stand in tables, too."""
    relays = table_of(scratch, "relays", "in.test x\n")
    system = pp_harness.Pennypost(
        scratch, mynetworks="", relay_domains=f"!no.in.test, hash:{relays}",
        smtpd_relay_restrictions="reject_unauth_destination",
        virtual_mailbox_domains=f"hash:{table_of(scratch, 'boxes', 'box.test x')}",
        virtual_transport="relay").relay_to(sink).start()
    client = system.client()
    client.ehlo()
    client.mail("a@b.test")
    assert client.rcpt("u@in.test")[0] == 250
    assert client.rcpt("u@box.test")[0] == 250
    assert client.rcpt("u@sub.in.test")[0] == 250
    assert client.rcpt("u@no.in.test") == (554, b"5.7.1 <u@no.in.test>: Relay access denied")
    assert client.rcpt("u@later.test")[0] == 554
    table_of(scratch, "relays", "in.test x\nlater.test x\n")
    assert client.rcpt("u@later.test")[0] == 250
    os.remove(relays)
    assert client.rcpt("u@in.test") == (451, b"4.3.0 <u@in.test>: Temporary lookup failure")
    system.log.wait_for(rf"warning: relay_domains: {relays}: No such file or directory")
    table_of(scratch, "relays", "in.test x\n")
    client.rset()
    system.wait_removed(system.send("u@in.test", client=client))
    client.quit()


def test_taken_away_while_its_way_is_looked_for(scratch, sink):
    """A pipe in place of the table holds the look-up: deleted, held and stopped meanwhile."""
    path = os.path.join(scratch.path, "table")
    os.mkfifo(path)
    system = pp_harness.Pennypost(scratch, transport_maps=f"texthash:{path}").relay_to(sink).start()
    ids = [system.send(f"u@n{n}.test") for n in range(4)]
    for queue_id in ids:
        system.log.wait_for(rf"{queue_id}: from=.*queue active")
    system.must("postsuper", "-d", ids[0])
    system.must("postsuper", "-h", ids[1])
    scratch.on_exit(lambda: os.remove(path))
    with open(path, "w", encoding="ascii") as pipe:  # opens when the other side reads
        os.rename(path, f"{path}.old")
        scratch.file(path, "n9.test discard:\n")
        pipe.write("n9.test discard:\n")
    system.wait_removed(ids[2])
    system.wait_removed(ids[3])
    system.events.wait_for(f"^held {ids[1]}$")
    assert sorted(r for m in sink.wait(2) for r in m.recipients) == ["u@n2.test", "u@n3.test"]
    assert [os.path.basename(f) for f in system.queue_files()] == [ids[1]]
