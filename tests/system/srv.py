"""srv.py - use_srv_lookup: hosts and ports of submission services by SRV records (RFC 2782).

Postfix 3.7 has none of it: results and texts are those that 3.8 documents.
"""

import pp_harness
import pp_peers

NONE = "Host or domain name not found. Name service error for name="


def test_srv(scratch, ca):
    shown = ca.issue("srv.test")
    first = pp_peers.Sink(scratch, "127.0.0.2", certificate=shown)
    second = pp_peers.Sink(scratch, "127.0.0.3")
    usual = pp_peers.Sink(scratch, "127.0.0.4")
    dead = scratch.port()
    hosts = "a A 127.0.0.2\nb A 127.0.0.3\nc A 127.0.0.4\n@ MX 10 c\n@ A 127.0.0.4\n"

    def zone(*records):
        return hosts + "".join(f"_submission._tcp SRV {record}\n" for record in records)

    dns = pp_peers.Dns(scratch, {
        "srv.test": zone(f"20 0 {second.port} b", f"10 5 {first.port} a"),
        "next.test": zone(f"20 0 {second.port} b", f"10 0 {dead} a", f"10 9 {dead} gone"),
        "all.test": zone(f"1 0 {dead} a"),
        "null.test": zone("0 0 0 ."),
        "none.test": zone(),
        "gone.test": zone(f"1 0 {dead} gone"),
        "away.test": zone("0 0 0 ."),
        "broken.test": None,
    })
    # `soft` and `brave` go on without SRV, to the port that the service has.
    services = pp_harness.SMTPD + (
        "soft unix - - n - - smtp -o ignore_srv_lookup_error=yes\n"
        "brave unix - - n - - smtp -o allow_srv_lookup_fallback=yes\n"
        "sure unix - - n - - smtp -o smtp_tls_security_level=secure\n"
        "lists unix - - n - - lmtp -o lmtp_tcp_port=submission\n")
    names = ["srv", "next", "all", "null", "none", "gone", "broken"]
    entries = [(f"{name}.{row}", f"{row}:{name}.test:submission")
               for name in names for row in ("smtp", "soft", "brave")]
    entries += [("secure", "sure:srv.test:Submission"), ("number", f"smtp:none.test:{usual.port}"),
                ("literal", "smtp:[b.srv.test]:submission"), ("lmtp", "lists:inet:all.test"),
                ("list", "smtp:none.test:submission, next.test:submission")]
    table = scratch.file("transport", "".join(f"{domain} {to}\n" for domain, to in entries))
    system = pp_harness.Pennypost(
        scratch, services=services, dns_resolvers=f"127.0.0.1:{dns.port}",
        use_srv_lookup="imaps, submission", known_tcp_ports=f"smtp=25, submission={usual.port}",
        transport_maps=f"texthash:{table}", smtp_tls_CAfile=ca.file,
        relayhost="away.test:submission").start()
    system.send([f"u@{domain}" for domain, _ in entries] + ["u@relayhost"], sender="")

    def check(domain, host, dsn="2.0.0", status="sent", text="250 2.0.0 Ok"):
        said = system.wait_status(f"u@{domain}", r"\w+")
        assert said["relay"] == (host or "none"), said[0]
        assert f"dsn={dsn}, status={status} ({text}" in said[0], said[0]

    to_first, to_second, to_usual = (
        f"{name}[{peer.address}]:{peer.port}"
        for name, peer in (("a.srv.test", first), ("b.next.test", second), ("c.{}.test", usual)))
    for row in ("smtp", "soft", "brave"):
        check(f"srv.{row}", to_first)
        check(f"next.{row}", to_second)
        check(f"all.{row}", None, "4.4.1", "deferred",
              f"connect to a.all.test[127.0.0.2]:{dead}: Connection refused)")
    for row in ("smtp", "soft"):
        check(f"null.{row}", None, "5.1.0", "bounced",
              "Domain _submission._tcp.null.test does not support SRV requests)")
        check(f"none.{row}", None, "5.4.4", "bounced",
              NONE + "_submission._tcp.none.test type=SRV: Host not found)")
        check(f"gone.{row}", None, "5.4.4", "bounced", NONE + "gone.gone.test type=A: Host not found)")
    for name in ("null", "none", "gone"):
        check(f"{name}.brave", to_usual.format(name))
    check("broken.smtp", None, "4.4.3", "deferred",
          NONE + "_submission._tcp.broken.test type=SRV: Host not found, try again)")
    for row in ("soft", "brave"):  # then nobody knows the MX either
        check(f"broken.{row}", None, "4.4.3", "deferred", NONE + "broken.test type=MX")
    check("secure", to_first)  # the certificate is for the next hop, not for the host
    check("number", to_usual.format("none"))
    check("literal", None, "4.4.1", "deferred", f"connect to b.srv.test[127.0.0.3]:{usual.port}: ")
    check("lmtp", None, "4.4.1", "deferred", f"connect to a.all.test[127.0.0.2]:{dead}: ")
    check("list", to_second)
    # A relay that somebody of our own has set wrong keeps its mail waiting.
    check("relayhost", None, "4.3.5", "deferred", "Domain _submission._tcp.away.test does not")
    for line in (r"no SRV host for _submission\._tcp\.gone\.test has a valid address record",
                 r"skipping SRV lookup for _submission\._tcp\.broken\.test: "):
        system.log.wait_for(line)
    said = system.must("route", "u@srv.smtp", "u@list", "u@literal", "u@number").splitlines()
    assert said == [
        "u@srv.smtp\tsmtp\tsrv.test:submission\tSRV _submission._tcp.srv.test",
        "u@list\tsmtp\tnone.test:submission, next.test:submission\t"
        "SRV _submission._tcp.none.test, SRV _submission._tcp.next.test",
        "u@literal\tsmtp\t[b.srv.test]:submission",
        f"u@number\tsmtp\tnone.test:{usual.port}"]
