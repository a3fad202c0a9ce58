"""dane.py - levels dane and dane-only: TLSA records of signed zones, by a real validating resolver.

The results, codes and texts are those of Postfix 3.7 for the same zones.
"""

import hashlib
import re
import subprocess

import pp_harness
import pp_peers

UNUSABLE = "TLSA records unusable"
NONE = "no TLSA records found"
NOT_VERIFIED = "Server certificate not verified: no matching DANE TLSA records"
SENT = "250 2.0.0 Ok"
# domain: (level dane, level dane-only)
TABLE = {
    "good.signed.test": (SENT, SENT),
    "whole.signed.test": (SENT, SENT),
    "ca.signed.test": (SENT, SENT),
    "cahost.signed.test": (SENT, SENT),
    "caother.signed.test": ("Server certificate not verified: it is for ",) * 2,
    "bad.signed.test": (NOT_VERIFIED, NOT_VERIFIED),
    "two.signed.test": (SENT, SENT),
    "unusable.signed.test": (SENT, UNUSABLE),
    "short.signed.test": (SENT, UNUSABLE),
    "none.signed.test": (SENT, NONE),
    "clear.signed.test": ("TLS is required, but was not offered by host mxclear.signed.test",) * 2,
    "alias.signed.test": (SENT, SENT),
    "badsig.signed.test": ("TLSA lookup error for mxbadsig.signed.test:",) * 2,
    "broken.signed.test": ("TLSA lookup error for mxbroken.signed.test:",) * 2,
    "half.plain.test": (SENT, "non DNSSEC destination"),
    "plain.test": (SENT, "non DNSSEC destination"),
    "out.signed.test": (SENT, NONE),
}


def record(certificate, usage=3, selector=1, match=1):
    command = f"openssl x509 -in {certificate} -outform DER"
    if selector == 1:
        command = f"openssl x509 -in {certificate} -noout -pubkey | openssl pkey -pubin -outform DER"
    der = subprocess.run(command, shell=True, capture_output=True, check=True).stdout
    data = {0: der.hex(), 1: hashlib.sha256(der).hexdigest(), 2: hashlib.sha512(der).hexdigest()}[match]
    return f"TLSA {usage} {selector} {match} {data}"


def zones(port, good, ca):
    wrong = "00" * 32
    records = {
        "good": [record(good)], "whole": [record(good, 3, 0, 0)], "ca": [record(ca, 2, 0, 0)],
        "cahost": [record(ca, 2, 1, 0)], "caother": [record(ca, 2, 0, 0)],
        "bad": [f"TLSA 3 1 1 {wrong}"], "again": [f"TLSA 3 1 1 {wrong}"],
        "two": [f"TLSA 3 1 1 {wrong}", record(good, 3, 1, 1)],
        "unusable": [f"TLSA 1 1 1 {wrong}"], "short": ["TLSA 3 1 1 0011"], "none": [],
        "clear": [record(good)], "badsig": [record(good)], "broken": ["CNAME x.gone.test."],
    }
    text = "alias MX 10 mxalias\nmxalias CNAME mxgood\nout MX 10 mxout\nmxout CNAME mx.plain.test.\n"
    for name, tlsa in records.items():
        text += f"{name} MX 10 mx{name}\nmx{name} A {'127.0.0.11' if name == 'clear' else '127.0.0.10'}\n"
        text += "".join(f"_{port}._tcp.mx{name} {each}\n" for each in tlsa)
    plain = f"@ MX 10 mx\nmx A 127.0.0.10\n_{port}._tcp.mx {record(good)}\nhalf MX 10 mxgood.signed.test.\n"
    return {"signed.test": text}, {"plain.test": plain}


def spoil(text):
    """Changes one signature."""
    def other(match):
        return match.group(1) + ("B" if match.group(2) == "A" else "A")
    return re.sub(r"(_tcp\.mxbadsig\S*\s.*RRSIG\s+TLSA .* )(\S)(?=\S+\s*$)", other, text, flags=re.M)


def outcomes(system, user, domains):
    client = system.client()
    for domain in domains:
        system.send(f"{user}@{domain}", client=client)
    found = {}
    for domain in domains:
        said = system.log.wait_for(rf"to=<{user}@{re.escape(domain)}>, .*dsn=([\d.]+), status=(\w+) \((.*)\)$")
        found[domain] = said.groups()
    return found


def check(found, column):
    for domain, texts in TABLE.items():
        dsn, status, text = found[domain]
        assert text.startswith(texts[column]), (domain, found[domain])
        wanted = {SENT: ("2.0.0", "sent")}.get(texts[column], ("4.7.5", "deferred"))
        if texts[column].startswith("TLS is required"):
            wanted = ("4.7.4", "deferred")
        assert (dsn, status) == wanted, (domain, found[domain])


def test_dane(scratch, ca):
    good = ca.issue("mxcahost.signed.test", also=["mxca.signed.test", "mxgood.signed.test"])
    sink = pp_peers.Sink(scratch, "127.0.0.10", certificate=good)
    pp_peers.Sink(scratch, "127.0.0.11", sink.port)
    asked = []
    sink.tls.sni_callback = lambda _, sni, context: asked.append(sni)
    dns = pp_peers.SignedDns(scratch, *zones(sink.port, good.cert, ca.file), spoil)
    system = pp_harness.Pennypost(
        scratch, dns_resolvers=f"127.0.0.1:{dns.port}", smtp_tcp_port=str(sink.port),
        smtp_dns_support_level="dnssec", smtp_tls_security_level="dane", smtp_tls_loglevel="1",
        smtp_connection_cache_on_demand="no").start()
    check(outcomes(system, "one", TABLE), 0)
    log = "\n".join(system.log.lines)
    for words in (r"Verified TLS connection established to mxgood\.signed\.test",
                  r"Verified TLS connection established to mxca\.signed\.test",
                  r"Verified TLS connection established to mxalias\.signed\.test",
                  r"Untrusted TLS connection established to mxnone\.signed\.test",
                  r"Trusted TLS connection established to mxgood\.signed\.test",  # half.plain.test
                  r"verification failed for mxbad\.signed\.test\S+: num=65:no matching DANE TLSA records",
                  r"warning: TLS policy lookup for badsig\.signed\.test/mxbadsig\.signed\.test: TLSA lookup error"):
        assert re.search(words, log), words
    assert "mxgood.signed.test" in asked and "mxalias.signed.test" not in asked
    # Once more: TLS sessions are resumed, and trusted as before.
    again = ["good.signed.test", "ca.signed.test", "bad.signed.test"]
    assert [status for _, status, _ in outcomes(system, "two", again).values()] == ["sent", "sent", "deferred"]
    # Another failure is no reason to try again what has failed before: that would soon kill the destination.
    for user in "abcdef":
        (_, _, text), = outcomes(system, user, ["again.signed.test"]).values()
        assert text.startswith(NOT_VERIFIED), (user, text)
    assert len(re.findall(r"to=<a@again\.signed\.test>", "\n".join(system.log.lines))) == 1
    system.stop()
    system.write_config(smtp_tls_security_level="dane-only")
    system.start()
    check(outcomes(system, "three", TABLE), 1)
    system.stop()
    system.write_config(smtp_dns_support_level="enabled")
    system.start()
    (dsn, status, text), = outcomes(system, "four", ["good.signed.test"]).values()
    assert (dsn, status) == ("4.7.5", "deferred")
    assert text.startswith("client TLS configuration problem: dane-only configured with dnssec lookups disabled")


def test_dnssec_probe(scratch):
    """A name server that does not validate is told of, once, where an answer could have been vouched for."""
    dns = pp_peers.SignedDns(scratch, {"signed.test": "@ MX 0 .\n"}, {"plain.test": "@ MX 0 .\nhost A 127.0.0.9\n"})

    def warnings(probe, domain):
        system = pp_harness.Pennypost(scratch, dns_resolvers=f"127.0.0.1:{dns.port}", dnssec_probe=probe,
                                      smtp_dns_support_level="dnssec", smtp_dns_timeout="1s").start()
        client = system.client()
        for user in ("one", "two"):
            system.send(f"{user}@{domain}", client=client)
            system.log.wait_for(rf"to=<{user}@{re.escape(domain)}>, .*status=bounced")
        if probe and domain == "plain.test" and "signed" not in probe:
            system.log.wait_for(r"warning: reason: dnssec_probe")
        system.stop()
        return [line.split("warning: ")[1] for line in system.log.lines if "DNSSEC" in line or "dnssec_probe" in line]

    unavailable = "DNSSEC validation may be unavailable"
    unsigned = "reason: dnssec_probe '{}' received a response that is not DNSSEC validated"
    assert warnings("ns:plain.test", "plain.test") == [unavailable, unsigned.format("ns:plain.test")]
    assert warnings("TXT:host.plain.test", "plain.test") == [unavailable, unsigned.format("TXT:host.plain.test")]
    first, why = warnings("ns:.", "plain.test")  # nobody answers for the root here
    assert first == unavailable and why.startswith("reason: dnssec_probe 'ns:.' received no response: Host not found")
    assert warnings("ns:plain.test", "signed.test") == []
    assert warnings("soa:signed.test", "plain.test") == []
    assert warnings("", "plain.test") == []
    for bad in ("ns", "nx:.", "ns:", "ns:-x-", ":."):
        system = pp_harness.Pennypost(scratch, dnssec_probe=bad)
        out = system.command("check")
        assert out.returncode != 0 and f"dnssec_probe = {bad}: " in out.stderr, out
