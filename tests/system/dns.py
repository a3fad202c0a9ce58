"""dns.py - where mail for a domain goes: MX, addresses, and names that cannot be looked up."""

import os
import re
import socket

import pp_harness
import pp_peers
import pytest

ZONES = {
    "mx.test": "@ MX 30 c\n@ MX 10 a\n@ MX 20 b\na A 127.0.0.2\nb A 127.0.0.3\nc A 127.0.0.4\n",
    "plain.test": "@ A 127.0.0.2\n",
    "six.test": "@ AAAA ::1\n",
    "both.test": "@ MX 10 h\nh AAAA ::1\nh A 127.0.0.2\n",
    "null.test": "@ MX 0 .\n@ A 127.0.0.2\n",
    "empty.test": "@ TXT nothing\n",
    "alias.test": "@ MX 10 al\nal CNAME real\nreal A 127.0.0.2\n",
    "broken.test": None,
    "nohost.test": "@ MX 10 gone\n",
}


def start(scratch, port, dns=None, **main):
    dns = dns or pp_peers.Dns(scratch, ZONES)
    return pp_harness.Pennypost(scratch, dns_resolvers=f"127.0.0.1:{dns.port}",
                                smtp_tcp_port=str(port), **main).start()


def sinks(scratch, count=3, answer=None):
    """Sinks on 127.0.0.2, .3 ... with one port."""
    first = pp_peers.Sink(scratch, "127.0.0.2", answer=answer)
    return [first] + [pp_peers.Sink(scratch, f"127.0.0.{i + 3}", first.port)
                      for i in range(count - 1)]


def test_best_mx_first(scratch):
    a, b, c = sinks(scratch)
    system = start(scratch, a.port)
    system.wait_removed(system.send("user@mx.test"))
    assert (len(a.mails), len(b.mails), len(c.mails)) == (1, 0, 0)
    said = system.wait_status("user@mx.test", "sent")
    assert said["relay"] == f"a.mx.test[127.0.0.2]:{a.port}"


def test_next_mx_when_the_best_refuses(scratch):
    a, b, c = sinks(scratch, answer=lambda verb, _: "421 busy" if verb == "CONNECT" else None)
    system = start(scratch, a.port)
    system.wait_removed(system.send("user@mx.test"))
    assert (len(b.mails), len(c.mails)) == (1, 0)


def test_next_mx_when_nobody_listens(scratch):
    a, b, c = sinks(scratch)
    a.close()
    system = start(scratch, a.port)
    system.wait_removed(system.send("user@mx.test"))
    assert (len(b.mails), len(c.mails)) == (1, 0)
    system.log.wait_for(r"connect to a\.mx\.test\[127\.0\.0\.2\]:\d+: Connection refused")


def test_address_when_there_is_no_mx(scratch):
    (a,) = sinks(scratch, 1)
    system = start(scratch, a.port)
    system.wait_removed(system.send("user@plain.test"))
    assert len(a.mails) == 1


def test_ipv6_only(scratch):
    sink = pp_peers.Sink(scratch, "::1")
    system = start(scratch, sink.port, inet_protocols="all")
    system.wait_removed(system.send("user@six.test"))
    assert len(sink.mails) == 1


def test_ipv4_when_ipv6_refuses(scratch):
    (a,) = sinks(scratch, 1)
    system = start(scratch, a.port, inet_protocols="all")
    system.wait_removed(system.send("user@both.test"))
    assert len(a.mails) == 1


def test_reply_filter(scratch):
    """Records are thrown away one by one; when none is left the mail waits. Texts are Postfix's."""
    a, b, c = sinks(scratch)
    table = scratch.file("filter", r"""
/^mx\.test\. [0-9]+ IN MX 10 / IGNORE
/^b\.mx\.test\. [0-9]+ IN A 127\.0\.0\.3$/ IGNORE
/ IN MX 10 al\./ IGNORE
/^plain\.test\. [0-9]+ IN A / ignore
/ IN MX 10 gone\./ DROP
""")
    system = start(scratch, a.port, smtp_dns_reply_filter=f"regexp:{table}")
    system.wait_removed(system.send("user@mx.test"))
    assert (len(a.mails), len(b.mails), len(c.mails)) == (0, 0, 1)
    system.log.wait_for(r"ignoring DNS RR: mx\.test\. \d+ in mx 10 a\.mx\.test\.")
    for domain, dsn, text in (
            ("alias.test", "4.7.0", "Error looking up name=alias.test type=MX: DNS reply filter drops all results"),
            ("plain.test", "4.7.0", "Error looking up name=plain.test type=A: DNS reply filter drops all results"),
            ("nohost.test", "4.7.0", "Error looking up name=nohost.test type=MX: Invalid DNS reply filter syntax")):
        system.send(f"user@{domain}")
        said = system.wait_status(f"user@{domain}", "deferred")
        assert (said["dsn"], said["text"]) == (dsn, text)


@pytest.mark.parametrize("overrides, name", [("no", "al"), ("yes", "real")])
def test_a_server_that_is_an_alias(scratch, overrides, name):
    (a,) = sinks(scratch, 1)
    system = start(scratch, a.port, smtp_cname_overrides_servername=overrides)
    system.wait_removed(system.send("user@alias.test"))
    assert system.wait_status("user@alias.test", "sent")["relay"] == f"{name}.alias.test[127.0.0.2]:{a.port}"


@pytest.mark.parametrize("domain, dsn, text", [
    ("null.test", "5.1.0", "Domain null.test does not accept mail (nullMX)"),
    ("no.mx.test", "5.4.4", "Host or domain name not found. Name service error for name=no.mx.test "
     "type=A: Host not found"),
    ("empty.test", "5.4.4", "Host or domain name not found. Name service error for name=empty.test "
     "type=A: Host found but no data record of requested type"),
])
def test_bounced(scratch, domain, dsn, text):
    system = start(scratch, scratch.port())
    system.send(f"user@{domain}", sender="")
    said = system.wait_status(f"user@{domain}", "bounced")
    assert (said["dsn"], said["text"], said["relay"]) == (dsn, text, "none")


def test_server_failure_defers(scratch):
    system = start(scratch, scratch.port())
    queue_id = system.send("user@broken.test")
    said = system.wait_status("user@broken.test", "deferred")
    assert said["dsn"] == "4.4.3"
    assert said["text"] == ("Host or domain name not found. Name service error for "
                            "name=broken.test type=MX: Host not found, try again")
    system.wait_deferred(queue_id)
    assert [os.path.basename(f) for f in system.queue_files("deferred")] == [queue_id]


def test_no_resolver_answers(scratch):
    dns = pp_peers.Dns(scratch, ZONES)
    dns.stop()
    system = start(scratch, scratch.port(), dns, dns_timeout="1s")
    system.send("user@mx.test")
    said = system.wait_status("user@mx.test", "deferred")
    assert said["dsn"] == "4.4.3"
    assert "name=mx.test type=MX: Host not found, try again" in said["text"]


def test_mx_without_an_address(scratch):
    system = start(scratch, scratch.port())
    system.send("user@nohost.test", sender="")
    said = system.wait_status("user@nohost.test", "(?:bounced|deferred)")
    assert re.match(r"[45]\.4\.4", said["dsn"])
    assert "gone.nohost.test" in said["text"]


def test_relayhost_with_mx(scratch):
    """Without brackets the name of a relay is looked up as a domain."""
    a, b, _ = sinks(scratch)
    dns = pp_peers.Dns(scratch, ZONES)
    system = start(scratch, 25, dns, relayhost=f"mx.test:{a.port}")
    system.wait_removed(system.send("user@elsewhere.test"))
    assert len(a.mails) == 1


def test_address_literal(scratch):
    (a,) = sinks(scratch, 1)
    system = start(scratch, a.port)
    system.wait_removed(system.send("user@[127.0.0.2]"))
    assert a.mails[0].recipients == ["user@[127.0.0.2]"]


def black_hole(scratch, port):
    """An address that answers nobody: a listener on ::1 whose queue is full."""
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.bind(("::1", port))
    listener.listen(0)
    scratch.on_exit(listener.close)
    for _ in range(4):
        filler = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        filler.setblocking(False)
        filler.connect_ex(("::1", port))
        scratch.on_exit(filler.close)


@pytest.mark.parametrize("preference", ["ipv6", "any"])
def test_broken_ipv6_costs_a_moment(scratch, preference):
    """RFC 8305: IPv4 begins 250 ms later and wins; what was lost is neither logged nor counted."""
    (a,) = sinks(scratch, 1)
    black_hole(scratch, a.port)
    system = start(scratch, a.port, inet_protocols="all", smtp_address_preference=preference,
                   smtp_connection_cache_on_demand="no", smtp_mx_address_limit="2")
    for _ in range(3):
        system.wait_removed(system.send("user@both.test"))
    assert len(a.mails) == 3
    took = [float(m.group(1)) for m in system.log.find(r"to=<user@both\.test>, .*delays=[\d.]+/[\d.]+/([\d.]+)/")]
    assert len(took) == 3 and max(took) < 5, took
    assert not system.log.find(r"smtp\[\d+\]: connect to ")


def test_the_loser_is_tried_later(scratch):
    """IPv4 connects first and turns us away: IPv6, given up for it, is tried after all."""
    turned = pp_peers.Sink(scratch, "127.0.0.2", answer=lambda verb, _: "421 go away" if verb == "CONNECT" else None)
    black_hole(scratch, turned.port)
    system = start(scratch, turned.port, inet_protocols="all", smtp_address_preference="ipv6",
                   smtp_connect_timeout="1s")
    system.send("user@both.test")
    said = system.wait_status("user@both.test", "deferred")
    assert said["text"] == f"connect to h.both.test[::1]:{turned.port}: Connection timed out"
    assert system.log.find(r"host h\.both\.test\[127\.0\.0\.2\] refused to talk to me: 421 go away")


def test_search_domains(scratch):
    """Short names of hosts: not found, unless smtp_dns_resolver_options asks for search domains."""
    sink = pp_peers.Sink(scratch)
    dns = pp_peers.Dns(scratch, {"first.test": "mail A 127.0.0.1\n",
                                 "second.test": "mx A 127.0.0.1\nmx.deep A 127.0.0.1\n"})
    rows = {"none": "", "names": "res_defnames", "search": "res_dnsrch", "both": "res_defnames,res_dnsrch"}
    ways = {("none", "mail"): False, ("names", "mail"): True, ("search", "mail"): False,  # as res_search(3)
            ("names", "mx"): False, ("both", "mx"): True, ("names", "mx.deep"): False,
            ("search", "mx.deep"): True, ("both", "mx.deep."): False}
    table = scratch.file("transport", "".join(f"to{n}.test {row}:[{host}]\n"
                                              for n, (row, host) in enumerate(ways)))
    services = pp_harness.SMTPD + "".join(f"{row} unix - - n - - smtp -o smtp_dns_resolver_options={value}\n"
                                          for row, value in rows.items())
    system = pp_harness.Pennypost(scratch, services=services, dns_resolvers=f"127.0.0.1:{dns.port}",
                                  smtp_tcp_port=str(sink.port), smtp_host_lookup="dns", dns_timeout="2s",
                                  transport_maps=f"texthash:{table}",
                                  env={"LOCALDOMAIN": "first.test second.test"}).start()
    client = system.client()
    for n in range(len(ways)):
        system.send(f"user@to{n}.test", client=client)
    for n, (way, is_found) in enumerate(ways.items()):
        said = system.wait_status(f"user@to{n}.test", "(?:sent|deferred|bounced)")
        assert ("250" in said["text"]) == is_found, (way, said.group(0))
