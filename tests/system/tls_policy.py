"""tls_policy.py - levels of TLS by next hop: what each entry demands, and what becomes of the mail.

One daemon, one table of policies; a sink for each kind of certificate, all on one port. The same
table was run against Postfix 3.7, which agrees in status and code, and begins with the same words.
"""

import os
import re
import shutil
import subprocess

import pp_ca
import pp_harness
import pp_peers
from pp_scratch import must

# Addresses of the sinks, by what they show.
GOOD, PLAIN, REFUSES, BREAKS, EXPIRED, UNKNOWN, WILD = (f"127.0.0.{n}" for n in range(10, 17))
NAMES = {"good": GOOD, "plain": PLAIN, "refuses": REFUSES, "breaks": BREAKS, "expired": EXPIRED,
         "unknown": UNKNOWN, "wild": WILD}
HOST = "mx.good.test"
SENT = ("sent", "2.0.0", "250 2.0.0 Ok")
NOT_OFFERED = ("deferred", "4.7.4", "TLS is required, but was not offered by host ")
NO_HANDSHAKE = ("deferred", "4.7.5", "Cannot start TLS: handshake failure")
NOT_VERIFIED = ("deferred", "4.7.5", "Server certificate not verified: ")
BAD_ENTRY = ("deferred", "4.7.5", "client TLS configuration problem: smtp_tls_policy_maps = ")


def refused(level):
    if level == "may":
        return SENT
    return ("deferred", "4.7.0", "TLS is required, but host ")


def plain(level):
    return SENT if level in ("none", "may") else NOT_OFFERED


def breaks(level):
    return SENT if level == "none" else NO_HANDSHAKE


def proves(level):
    """No policy names the certificate's name: it is for another host."""
    return SENT if level in ("none", "may", "encrypt") else NOT_VERIFIED


def fingerprint(certificate, key=False):
    if not key:
        return must(["openssl", "x509", "-in", certificate.cert, "-noout", "-fingerprint",
                     "-sha256"]).strip().split("=")[1]
    der = subprocess.run(f"openssl x509 -in {certificate.cert} -noout -pubkey | "
                         "openssl pkey -pubin -outform DER | openssl dgst -sha256 -r",
                         shell=True, capture_output=True, check=True).stdout
    return der.decode().split()[0]


class Peers:
    """The sinks, their names in the DNS, and the certificates they show."""

    def __init__(self, scratch, ca):
        self.other_ca = pp_ca.Authority(scratch.dir("other-ca"))
        self.good = ca.issue(HOST)
        self.unknown = self.other_ca.issue(HOST)
        shown = {GOOD: self.good, REFUSES: self.good, EXPIRED: ca.issue(HOST, expired=True),
                 UNKNOWN: self.unknown, WILD: ca.issue("*.wild.test")}
        answers = {REFUSES: lambda verb, _: "454 4.7.0 not now" if verb == "STARTTLS" else None,
                   BREAKS: lambda verb, _: "220 2.0.0 go on" if verb == "STARTTLS" else None}
        port, self.sinks, self.asked = 0, {}, []
        for name, address in NAMES.items():
            sink = pp_peers.Sink(scratch, address, port, answers.get(address), shown.get(address),
                                 extensions=["PIPELINING"] + ["STARTTLS"] * (address == BREAKS))
            port, self.sinks[name] = sink.port, sink
            if sink.tls:
                sink.tls.sni_callback = lambda _, sni, context: self.asked.append(sni)
        self.port = port
        self.dns = pp_peers.Dns(scratch, {f"{name}.test": f"@ A {address}\n* A {address}\n*.x A {address}\n"
                                          for name, address in NAMES.items()})


def start(scratch, peers, ca, policies, **main):
    table = scratch.file("policy", "".join(f"{key}\t{text}\n" for key, text in policies.items()))
    main.setdefault("smtp_tls_security_level", "may")
    return pp_harness.Pennypost(
        scratch, dns_resolvers=f"127.0.0.1:{peers.dns.port}", smtp_tcp_port=str(peers.port),
        smtp_tls_policy_maps=f"texthash:{table}", smtp_tls_CAfile=ca.file, smtp_tls_loglevel="1",
        **main).start()


def check(system, wanted):
    """One mail to each domain; wanted: domain -> (status, dsn, beginning of the text)."""
    client = system.client()
    for domain in wanted:
        system.send(f"user@{domain}", client=client)
    for domain, (status, dsn, text) in wanted.items():
        said = system.log.wait_for(rf"to=<user@{re.escape(domain)}>, .*dsn=([\d.]+), status=(\w+) \((.*)\)$")
        got = (said.group(2), said.group(1), said.group(3))
        assert got[:2] == (status, dsn) and got[2].startswith(text), (domain, got)


def test_levels(scratch, ca):
    peers = Peers(scratch, ca)
    levels = ("none", "may", "encrypt", "verify", "secure")
    policies, wanted = {}, {}
    for level in levels:
        for name, rule in (("good", proves), ("plain", plain), ("refuses", refused), ("breaks", breaks),
                           ("expired", proves), ("unknown", proves)):
            policies[f"{level}.{name}.test"] = level
            wanted[f"{level}.{name}.test"] = rule(level) if level != "none" else SENT
    more = {
        "f1.good.test": ("fingerprint match=" + fingerprint(peers.good), SENT),
        "f2.good.test": ("fingerprint match=00:11|" + fingerprint(peers.good).replace(":", "").lower(), SENT),
        "f3.good.test": ("fingerprint match=00 match=" + fingerprint(peers.good, key=True), SENT),
        "f4.good.test": ("fingerprint match=" + fingerprint(peers.unknown), NOT_VERIFIED),
        "f5.unknown.test": ("fingerprint match=" + fingerprint(peers.unknown), SENT),
        "f6.plain.test": ("fingerprint match=00", NOT_OFFERED),
        "n1.good.test": (f"secure match={HOST}", SENT),
        "n2.good.test": (f"secure match=nexthop:{HOST}", SENT),
        "n3.good.test": ("verify match=.good.test", SENT),
        "n4.good.test": ("secure match=hostname:dot-nexthop", NOT_VERIFIED),
        "n5.expired.test": (f"verify match={HOST}", NOT_VERIFIED),
        "n6.unknown.test": (f"verify match={HOST}", NOT_VERIFIED),
        "a.wild.test": ("secure", SENT),
        "a.x.wild.test": ("secure", SENT),  # tls_wildcard_matches_multiple_labels
        "p1.good.test": ("encrypt protocols=TLSv1.2 ciphers=high", SENT),
        "p2.good.test": ("encrypt protocols=TLSv1.1", NO_HANDSHAKE),
        "t1.unknown.test": (f"secure match={HOST} tafile={peers.other_ca.file}", SENT),
        "t2.good.test": (f"secure match={HOST} tafile={peers.other_ca.file}", NOT_VERIFIED),
        "t3.good.test": (f"secure match={HOST} tafile=/nowhere", (
            "deferred", "4.7.5", "Cannot start TLS: cannot load trust anchor file /nowhere")),
        "b1.good.test": ("frob", BAD_ENTRY),
        "b2.good.test": ("may match=x", BAD_ENTRY),
        "s1.good.test": ("encrypt servername=asked.for.test", SENT),
    }
    for domain, (text, result) in more.items():
        policies[domain], wanted[domain] = text, result
    key = must(["openssl", "x509", "-in", peers.other_ca.file, "-noout", "-pubkey"])
    policies["t4.unknown.test"] = f"secure match={HOST} tafile={scratch.file('key.pem', key)}"
    wanted["t4.unknown.test"] = SENT
    policies[".up.plain.test"] = "encrypt"
    wanted["deep.up.plain.test"] = NOT_OFFERED
    system = start(scratch, peers, ca, policies, smtp_tls_fingerprint_digest="sha256",
                   transport_retry_time="1h")
    check(system, wanted)
    # A file that one policy lacks holds up nobody else.
    for domain, status in ("t3.good.test", "deferred"), ("none.good.test", "sent"):
        system.send(f"next@{domain}")
        system.log.wait_for(rf"to=<next@{re.escape(domain)}>, .*status={status}")
    assert "asked.for.test" in peers.asked
    log = "\n".join(system.log.lines)
    for words in (
            r"Trusted TLS connection established to may\.good\.test",
            r"Untrusted TLS connection established to may\.expired\.test",
            r"Untrusted TLS connection established to verify\.good\.test",
            r"Verified TLS connection established to f1\.good\.test",
            r"Verified TLS connection established to t1\.unknown\.test",
            r"Verified TLS connection established to a\.wild\.test",
            r"established to p1\.good\.test\[127\.0\.0\.10\]:\d+: TLSv1\.2 with cipher",
            r"server certificate verification failed for verify\.good\.test\S+: num=62:hostname mismatch",
            r"certificate verification failed for n6\.unknown\.test\S+: untrusted issuer /CN=pennypost test CA",
            r"server certificate verification failed for n5\.expired\.test\S+: certificate has expired"):
        assert re.search(words, log), words


def test_changed_files_are_noticed(scratch, ca):
    """The table of policies, and the authorities of a level, without a reload."""
    peers = Peers(scratch, ca)
    authorities = scratch.file("ca.pem", open(peers.other_ca.file, encoding="ascii").read())
    system = start(scratch, peers, ca, {"one.plain.test": "encrypt", "one.good.test": "verify match=" + HOST})
    check(system, {"one.plain.test": NOT_OFFERED, "one.good.test": SENT})
    scratch.file("policy", f"one.plain.test may\n# longer\none.unknown.test secure match={HOST} "
                 f"tafile={authorities}\ntwo.unknown.test secure match={HOST} tafile={scratch.path}/link.pem\n")
    os.symlink(ca.file, f"{scratch.path}/link.pem")
    mark = system.log.mark()
    system.send("other@one.plain.test")
    system.log.wait_for(r"to=<other@one\.plain\.test>, .*status=sent", since=mark)
    check(system, {"one.unknown.test": SENT, "two.unknown.test": NOT_VERIFIED})


def test_client_certificate(scratch, ca, sink, root):
    """Asked for by a real Postfix; key and certificate from one file, the chain behind them."""
    host = "relay.pennypost.test"
    relay = pp_peers.Relay(scratch, sink, ca.issue(host), smtpd_tls_req_ccert="yes",
                           smtpd_tls_CAfile=ca.file, smtpd_tls_security_level="encrypt").start()
    mine = ca.issue("client.pennypost.test")
    with open(mine.key, encoding="ascii") as key, open(mine.cert, encoding="ascii") as cert:
        both = scratch.file("chain.pem", key.read() + cert.read(), 0o644)
    dns = pp_peers.Dns(scratch, {"pennypost.test": "relay A 127.0.0.1\n"})
    shutil.copy(mine.key, f"{scratch.path}/client.key")
    os.chmod(f"{scratch.path}/client.key", 0o644)
    for main in ({"smtp_tls_chain_files": both},
                 {"smtp_tls_eccert_file": mine.cert, "smtp_tls_eckey_file": f"{scratch.path}/client.key"}):
        system = pp_harness.Pennypost(
            scratch, relayhost=f"[{host}]:{relay.port}", dns_resolvers=f"127.0.0.1:{dns.port}",
            smtp_tls_security_level="secure", smtp_tls_CAfile=ca.file, **main).start()
        system.wait_removed(system.send("user@dest.test"))
        system.stop()
    relay.log.wait_for(r"Trusted TLS connection established from ", count=2)
