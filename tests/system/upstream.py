"""upstream.py - through a real Postfix with STARTTLS and SASL, as through a provider's relay."""

import os
import re

import pp_foreign
import pp_harness
import pp_peers
import pp_shapes
import pytest
from pp_scratch import TIMEOUT

HOST = "relay.pennypost.test"
USERS = {"kate": "s3cret"}


@pytest.fixture
def dns(scratch):
    """The relay has a name, so that its certificate can be checked against it."""
    return pp_peers.Dns(scratch, {"pennypost.test": "relay A 127.0.0.1\nother A 127.0.0.1\n"})


def sender(scratch, relay, dns, ca, **main):
    """Pennypost with an account at the relay."""
    passwords = scratch.file("sasl_passwd", f"[{HOST}]:{relay.port} kate:s3cret\n", 0o640)
    if os.geteuid() == 0:
        os.chown(passwords, 0, pp_harness.gid_of("postfix"))
    values = {
        "relayhost": f"[{HOST}]:{relay.port}",
        "dns_resolvers": f"127.0.0.1:{dns.port}",
        "smtp_tls_security_level": "secure",
        "smtp_tls_CAfile": ca.file,
        "smtp_tls_loglevel": "1",
        "smtp_sasl_auth_enable": "yes",
        "smtp_sasl_password_maps": f"texthash:{passwords}",
        "smtp_sasl_security_options": "noanonymous",
        "smtp_sasl_tls_security_options": "noanonymous",
        "smtp_tls_security_level": "secure",
    }
    values.update(main)
    return pp_harness.Pennypost(scratch, **values)


def test_a_thousand_mails_unchanged_over_few_connections(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST), USERS).start()
    system = sender(scratch, relay, dns, ca, smtp_sasl_mechanism_filter="plain, login").start()
    with system.client() as client:
        for number in range(1000):
            system.send(f"user{number}@dest.test", subject=f"number {number}", client=client,
                        body=f"mail {number}\r\n." + "\xe9" * (number % 50) + "\r\n")
    mails = sink.wait(1000, timeout=4 * TIMEOUT)
    assert len(mails) == 1000
    for mail in mails:
        number = int(re.fullmatch(r"number (\d+)", mail.header("Subject")).group(1))
        assert mail.recipients == [f"user{number}@dest.test"]
        assert mail.body() == (f"mail {number}\r\n." + "\xe9" * (number % 50) + "\r\n").encode()
    system.log.wait_for(r"qmgr\[\d+\]: \w+: removed", count=1000)
    assert system.queue_files() == []
    logins = relay.log.find(r"client=\S+, sasl_method=PLAIN, sasl_username=kate@" + re.escape(HOST))
    assert len(logins) == 1000
    connections = relay.log.find(r"smtpd\[\d+\]: connect from ")
    assert len(connections) <= 100, len(connections)
    assert system.log.find(rf"Verified TLS connection established to {re.escape(HOST)}"
                           r"\[127\.0\.0\.1\]:\d+: TLSv1\.3 with cipher ")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_each_mechanism(scratch, sink, root, dns, ca, mechanism):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST), USERS).start()
    system = sender(scratch, relay, dns, ca, smtp_sasl_mechanism_filter=mechanism).start()
    system.wait_removed(system.send("user@dest.test"))
    relay.log.wait_for(rf"sasl_method={mechanism}, sasl_username=kate")


def test_implicit_tls(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST), USERS,
                           smtpd_options="-o smtpd_tls_wrappermode=yes").start()
    system = sender(scratch, relay, dns, ca, smtp_tls_wrappermode="yes").start()
    system.wait_removed(system.send("user@dest.test"))
    sink.wait(1)


def deferred(system):
    """Sends one mail that cannot leave, and gives the line that says why."""
    system.start()
    queue_id = system.send("user@dest.test")
    said = system.wait_status("user@dest.test", "deferred")
    assert said["id"] == queue_id
    system.wait_deferred(queue_id)
    files = system.queue_files("deferred")
    assert [os.path.basename(f) for f in files] == [queue_id]
    assert said["text"] in system.must("postqueue", "-p")
    return said


def test_wrong_password(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST), {"kate": "another"}).start()
    said = deferred(sender(scratch, relay, dns, ca))
    assert said["dsn"] == "4.7.8"
    assert re.match(r"SASL authentication failed; server relay\.pennypost\.test\[127\.0\.0\.1\] said: "
                    r"535 5\.7\.8 Error: authentication failed", said["text"])


def test_corrected_password_is_noticed(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST), USERS).start()
    system = sender(scratch, relay, dns, ca)
    path = os.path.join(scratch.path, "sasl_passwd")
    with open(path, "w", encoding="ascii") as file:
        file.write(f"[{HOST}]:{relay.port} kate:wrong\n")
    said = deferred(system)
    with open(path, "w", encoding="ascii") as file:
        file.write(f"[{HOST}]:{relay.port} kate:s3cret\n# of another length\n")
    system.must("postqueue", "-f")
    system.wait_removed(said["id"])


def test_expired_certificate(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST, expired=True), USERS).start()
    system = sender(scratch, relay, dns, ca)
    said = deferred(system)
    assert said["dsn"] == "4.7.5"
    assert re.match(r"Server certificate not \w+: .*expired", said["text"])


def test_certificate_of_another_name(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue("other.pennypost.test"), USERS).start()
    system = sender(scratch, relay, dns, ca)
    said = deferred(system)
    assert said["dsn"] == "4.7.5"
    assert re.match(r"Server certificate not verified: .*other\.pennypost\.test.*relay\.pennypost\.test",
                    said["text"])


def test_certificate_of_an_unknown_authority(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST), USERS).start()
    said = deferred(sender(scratch, relay, dns, ca, smtp_tls_CAfile=None))
    assert said["dsn"] == "4.7.5"
    assert re.match(r"Server certificate not verified: .*issuer", said["text"])


@pytest.mark.parametrize("level, name", [("secure", "smtp_tls_mandatory_protocols"),
                                         ("may", "smtp_tls_protocols"), ("policy", None)])
def test_no_version_of_tls_in_common(scratch, sink, root, dns, ca, level, name):
    """In Postfix's words, OpenSSL's, and ours: what asks for which."""
    old = pp_peers.Relay(scratch, sink, ca.issue(HOST), smtpd_tls_protocols="TLSv1.1",
                         tls_medium_cipherlist="DEFAULT:@SECLEVEL=0").start()
    policy = scratch.file("policy", f"[{HOST}]:{old.port} encrypt protocols=TLSv1.3\n")
    system = sender(scratch, old, dns, ca, smtp_tls_security_level="may" if level == "policy" else level,
                    smtp_tls_policy_maps=f"texthash:{policy}" if level == "policy" else None,
                    smtp_tls_protocols=">=TLSv1.2", smtp_tls_mandatory_protocols=">=TLSv1.2",
                    smtp_sasl_auth_enable="no")
    want = ("the server has none of the versions that " +
            (f"{name} asks for: >=TLSv1.2" if name else "the TLS policy asks for: protocols=TLSv1.3"))
    said = deferred(system)
    assert said["dsn"] == "4.7.5"
    assert re.fullmatch(rf"Cannot start TLS: handshake failure: .*version.*: {want}", said["text"]), said["text"]
    system.log.wait_for(rf"SSL_connect error to {HOST}\[127\.0\.0\.1\]:{old.port}: .*: {want}")


@pytest.mark.parametrize("level", ["encrypt", "verify", "secure"])
def test_no_starttls(scratch, sink, root, dns, ca, level):
    relay = pp_peers.Relay(scratch, sink, None, USERS).start()
    said = deferred(sender(scratch, relay, dns, ca, smtp_tls_security_level=level))
    assert said["dsn"] == "4.7.4"
    assert said["text"] == f"TLS is required, but was not offered by host {HOST}[127.0.0.1]"


def test_encrypt_does_not_ask_who_it_is(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue("other.pennypost.test", expired=True),
                           USERS).start()
    system = sender(scratch, relay, dns, ca, smtp_tls_security_level="encrypt").start()
    system.wait_removed(system.send("user@dest.test"))
    system.log.wait_for(r"Untrusted TLS connection established to ")


def test_password_is_not_sent_in_clear(scratch, sink, root, dns, ca):
    """noplaintext without TLS leaves CRAM-MD5 only; the relay offers it."""
    relay = pp_peers.Relay(scratch, sink, None, USERS).start()
    system = sender(scratch, relay, dns, ca, smtp_tls_security_level="may",
                    smtp_sasl_security_options="noanonymous, noplaintext").start()
    system.wait_removed(system.send("user@dest.test"))
    relay.log.wait_for(r"sasl_method=CRAM-MD5, sasl_username=kate")


def test_no_usable_mechanism(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST), USERS).start()
    said = deferred(sender(scratch, relay, dns, ca, smtp_sasl_mechanism_filter="scram-sha-256"))
    assert re.match(r"SASL authentication failed; cannot authenticate to server "
                    r"relay\.pennypost\.test\[127\.0\.0\.1\]: no mechanism available", said["text"])


ODD = {
    "colons": "a:b::c:", "blanks": "two  words", "dollar": "$a ${b} $(c) $$", "hash": "#no comment",
    "quotes": "\"it's\" `x`", "bytes": "gr\u00fc\u00df\u2603", "backslash": "\\n\\\\", "signs": "a=b,c;d<e>",
    "long": "0123456789" * 20, "first last": "user, too", "at": "s3cret@host", "one": "x",
}
MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"]


@pytest.mark.parametrize("kind", [pp_harness.Pennypost, pp_harness.Postfix])
def test_odd_passwords(scratch, sink, root, kind):
    """Each with each mechanism, which a filter picks: by its name, a file, a table, by what is left."""
    relay = pp_peers.Relay(scratch, sink, None, ODD, mechanisms=" ".join(MECHANISMS)).start()
    table = scratch.file("mechanisms", "cram-md5 yes\n")
    file = scratch.file("mechanisms.list", "login\nntlm\n")
    filters = {"PLAIN": "plain", "LOGIN": file, "CRAM-MD5": f"!plain,texthash:{table}",
               "SCRAM-SHA-256": "!plain,!login,!cram-md5,static:all"}
    passwords = scratch.file("odd_passwd", "".join(
        f"{i}@client.test {user}:{password}\n" for i, (user, password) in enumerate(ODD.items())))
    routes = scratch.file("routes", "".join(
        f"{name.lower()}.test {name.lower()}:[127.0.0.1]:{relay.port}\n" for name in MECHANISMS))
    rows = "".join(f"{name.lower()} unix - - n - - smtp -o smtp_sasl_mechanism_filter={text}\n"
                   for name, text in filters.items())
    rows = {"services": pp_harness.SMTPD + rows} if kind is pp_harness.Pennypost else {"rows": rows}
    system = kind(scratch, **rows, smtp_tls_security_level="none",
                  smtp_sasl_auth_enable="yes", smtp_sasl_security_options="noanonymous",
                  smtp_sender_dependent_authentication="yes", transport_maps=f"texthash:{routes}",
                  smtp_sasl_password_maps=f"texthash:{passwords}").start()
    client = system.client()
    for i in range(len(ODD)):
        system.send([f"u@{name.lower()}.test" for name in MECHANISMS], sender=f"{i}@client.test",
                    client=client)
    system.log.wait_for(r"to=<u@\S+>, .*status=(sent|deferred|bounced)", count=len(ODD) * len(MECHANISMS))
    assert not system.log.find(r"status=(deferred|bounced)")
    login = r"sasl_method=(\S+), sasl_username=(.*)@" + re.escape(HOST)
    relay.log.wait_for(login, count=len(ODD) * len(MECHANISMS))  # it goes another way than the mail
    logins = {(m[1], m[2]) for m in relay.log.find(login)}
    assert logins == {(name, user) for name in MECHANISMS for user in ODD}


def test_broken_filter(scratch, sink, root):
    """A table that cannot be asked: no mechanism is tried at random."""
    relay = pp_peers.Relay(scratch, sink, None, USERS).start()
    system = pp_harness.Pennypost(
        scratch, relayhost=f"[127.0.0.1]:{relay.port}", smtp_sasl_auth_enable="yes",
        smtp_sasl_password_maps="static:kate:s3cret", smtp_sasl_security_options="noanonymous",
        smtp_sasl_mechanism_filter=f"texthash:{scratch.path}/missing")
    said = deferred(system)
    assert said["dsn"] == "4.3.0"
    assert said["text"].startswith("smtp_sasl_mechanism_filter lookup error: ")
    assert f"{scratch.path}/missing" in said["text"]
    assert not relay.log.find("sasl_method")


def test_without_a_password_no_login(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST), {}, mynetworks="127.0.0.0/8").start()
    system = sender(scratch, relay, dns, ca,
                    smtp_sasl_password_maps=f"texthash:{scratch.file('none', '')}").start()
    system.wait_removed(system.send("user@dest.test"))
    assert not relay.log.find("sasl_method")


def test_world_readable_password_file_is_warned_about(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST), USERS).start()
    system = sender(scratch, relay, dns, ca)
    path = os.path.join(scratch.path, "sasl_passwd")
    os.chmod(path, 0o644)
    system.start()
    system.log.wait_for(rf"warning: .*{re.escape(path)}.*(world|every|other)")
    system.wait_removed(system.send("user@dest.test"))


def test_unreadable_password_file(scratch, sink, root, dns, ca):
    relay = pp_peers.Relay(scratch, sink, ca.issue(HOST), USERS).start()
    system = sender(scratch, relay, dns, ca)
    path = os.path.join(scratch.path, "sasl_passwd")
    os.remove(path)
    system.start()
    queue_id = system.send("user@dest.test")
    said = system.wait_status("user@dest.test", "deferred")
    assert path in "\n".join(system.log.lines)
    scratch.file("sasl_passwd", f"[{HOST}]:{relay.port} kate:s3cret\n", 0o644)
    assert said["id"] == queue_id
    system.wait_deferred(queue_id)
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)


@pytest.mark.parametrize("kind", [pp_foreign.Exim, pp_foreign.OpenSmtpd])
def test_other_kinds(scratch, root, ca, kind):
    """All shapes of mail through another mail system: unchanged but for its lines."""
    sink = pp_peers.Sink(scratch)
    upstream = kind(scratch, sink, ca)
    system = pp_harness.Pennypost(
        scratch, relayhost=f"[127.0.0.1]:{upstream.port}", smtp_tls_security_level=kind.level,
        smtp_tls_secure_cert_match=upstream.host, smtp_tls_CAfile=ca.file, smtp_tls_loglevel="1",
        local_header_rewrite_clients="").start()
    shapes = pp_shapes.contents()
    shapes.update({f"again {i}": shapes["dots"].replace(b"<dots@", b"<again-%d@" % i)
                   .replace(b"shape dots", b"shape again %d" % i) for i in range(100 - len(shapes))})
    client = system.client()
    client.ehlo()
    pp_shapes.send_all(client, "you@box.test", shapes)
    system.log.wait_for(r"to=<you@box\.test>, .*status=sent", count=len(shapes))
    pp_shapes.check(shapes, [mail.data for mail in sink.wait(len(shapes))])
    assert len(shapes) >= 100
    if kind is pp_foreign.Exim:  # K: it came in chunks
        assert system.log.find("Verified TLS connection established to ")
        upstream.log.wait_for(r" <= shape@client\.test .* P=esmtps .* K ", count=len(shapes))
