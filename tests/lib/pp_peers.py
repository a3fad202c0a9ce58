"""pp_peers.py - the other side: a sink that keeps mail, a relay with TLS and SASL, a DNS server."""

import asyncio
import os
import re
import ssl
import threading
import time

from pp_harness import POSTFIX_SBIN, Postfix
from pp_scratch import TIMEOUT, must, run


class Mail:
    """One accepted message as the sink saw it; `data` without the dots of the transfer."""

    def __init__(self, connection, sender, recipients, data):
        self.connection = connection
        self.sender = sender
        self.recipients = recipients
        self.data = data
        self.taken, self.replied = time.monotonic(), None

    def header(self, name):
        match = re.search(rb"(?im)^" + name.encode() + rb":[ \t]*((?:.*\r?\n)(?:[ \t].*\r?\n)*)",
                          self.data.split(b"\r\n\r\n", 1)[0] + b"\r\n")
        return match and match.group(1).decode("utf-8", "surrogateescape").strip()

    def body(self):
        return self.data.split(b"\r\n\r\n", 1)[1]


class Sink:
    """An SMTP server in a thread. answer(verb, argument) may return a reply in place of the usual
    one ("" closes the connection); verbs are CONNECT EHLO MAIL RCPT DATA DOT RSET QUIT STARTTLS.
    each(recipient) makes it a server of LMTP: the replies to the dot. path: of a UNIX socket.
    delay(): seconds between a mail taken and the reply to its dot."""

    def __init__(self, scratch, address="127.0.0.1", port=0, answer=None, certificate=None,
                 extensions=("PIPELINING", "8BITMIME", "SIZE 0", "ENHANCEDSTATUSCODES", "DSN"),
                 name="sink.peer.test", keep=True, each=None, path=None, delay=None):
        self.address, self.answer, self.name, self.keep = address, answer, name, keep
        self.each, self.path, self.delay = each, path, delay
        self.extensions = list(extensions)
        self.mails, self.connections, self.commands, self.accepted = [], 0, [], 0
        self.changed = threading.Condition()
        self.tls = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate.cert, certificate.key)
            self.extensions.append("STARTTLS")
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(port, started), daemon=True)
        self.thread.start()
        started.wait()
        scratch.on_exit(self.close)

    def _run(self, port, started):
        asyncio.set_event_loop(self.loop)
        if self.path:
            server = self.loop.run_until_complete(asyncio.start_unix_server(
                self._session, self.path, limit=1 << 20, backlog=1024))
            os.chmod(self.path, 0o666)
        else:
            server = self.loop.run_until_complete(asyncio.start_server(
                self._session, self.address, port, limit=1 << 20, backlog=1024))
            self.port = server.sockets[0].getsockname()[1]
        started.set()
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))

    def close(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()

    def _note(self, mail):
        with self.changed:
            self.accepted += 1
            self.mails.append(mail)
            self.changed.notify_all()

    def wait(self, count, timeout=TIMEOUT):
        """The mails, as soon as there are so many."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.mails) >= count, timeout):
                raise AssertionError(f"the sink has {len(self.mails)} mails of {count}")
            return list(self.mails)

    async def _session(self, reader, writer):
        self.connections += 1
        try:
            await self._talk(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            return
        writer.close()

    async def _talk(self, reader, writer, connection):
        sender, recipients, chunks = None, [], []

        def say(text):
            writer.write(text.encode() + b"\r\n")

        def own(verb, argument=""):
            self.commands.append((connection, verb, argument))
            return self.answer(verb, argument) if self.answer else None

        reply = own("CONNECT")
        if reply == "":
            return
        say(reply or f"220 {self.name} ESMTP")
        while True:
            await writer.drain()
            line = await reader.readline()
            if not line:
                return
            verb, _, argument = line.decode("utf-8", "replace").rstrip("\r\n").partition(" ")
            verb = verb.upper()
            reply = own(verb, argument)
            if reply == "":
                return
            good = reply is None or reply[0] in "23"
            if verb == "RCPT" and sender is None and good:
                reply, good = "503 5.5.1 MAIL first", False
            data = None
            if verb == "BDAT":  # with CHUNKING among the extensions
                size, *last = argument.split()
                chunks.append(await reader.readexactly(int(size)))
                if not recipients or not last:
                    say("250 2.0.0 go on" if recipients else "503 5.5.1 RCPT first")
                    continue
                data, chunks = b"".join(chunks), []
            elif verb == "DATA" and good and recipients:
                say(reply or "354 go on")
                await writer.drain()
                data = await self._content(reader)
            if data is not None:
                reply = own("DOT", data)
                if reply == "":
                    return
                if reply is None or reply[0] == "2":
                    mail = Mail(connection, sender, recipients, data if self.keep else b"")
                    self._note(mail)
                    if self.delay:
                        await asyncio.sleep(self.delay())
                    mail.replied = time.monotonic()
                replies = [self.each(recipient) for recipient in recipients if self.each]
                until = replies.index("") if "" in replies else len(replies)
                if until:  # together, so that no client may count on one at a time
                    say("\r\n".join(replies[:until]))
                if until < len(replies):
                    await writer.drain()
                    return
                if not self.each:
                    say(reply or "250 2.0.0 Ok")
                sender, recipients = None, []
                continue
            if verb == "MAIL" and good:
                sender = _address(argument)
            elif verb == "RCPT" and good:
                recipients.append(_address(argument))
            elif verb in ("EHLO", "LHLO", "HELO", "RSET"):
                sender, recipients, chunks = None, [], []
            if reply is not None:
                say(reply)
            elif verb == ("LHLO" if self.each else "EHLO"):
                words = [self.name] + [e for e in self.extensions
                                       if e != "STARTTLS" or not writer.get_extra_info("ssl_object")]
                for word in words[:-1]:
                    say("250-" + word)
                say("250 " + words[-1])
            elif verb == "STARTTLS" and self.tls:
                say("220 2.0.0 go on")
                await writer.drain()
                await writer.start_tls(self.tls)
            elif verb == "DATA":
                say("554 5.5.1 no valid recipients")
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                await writer.drain()
                return
            elif verb in ("HELO", "MAIL", "RCPT", "RSET", "NOOP"):
                say("250 2.0.0 Ok")
            else:
                say("500 5.5.2 what?")

    async def _content(self, reader):
        lines = []
        while True:
            line = await reader.readline()
            if line == b".\r\n":
                return b"".join(lines)
            if not line:
                raise ConnectionError
            if self.keep:
                lines.append(line[1:] if line.startswith(b".") else line)


def _address(argument):
    match = re.match(r"(?i)(?:FROM|TO): ?<(.*?)>", argument)
    return match.group(1) if match else argument


class Relay(Postfix):
    """A submission service: real Postfix with STARTTLS, and SASL by Cyrus from a sasldb of its own.
    What it takes goes on to `sink`."""

    def __init__(self, scratch, sink, certificate=None, users=None, name="relay",
                 host="relay.pennypost.test", mechanisms="PLAIN LOGIN CRAM-MD5", **main):
        values = {
            "myhostname": host,
            "relayhost": f"[127.0.0.1]:{sink.port}",
            "smtpd_peername_lookup": "no",
            "default_destination_concurrency_limit": "5",
        }
        if certificate:
            values.update(smtpd_tls_security_level="may", smtpd_tls_cert_file=certificate.cert,
                          smtpd_tls_key_file=certificate.key, smtpd_tls_loglevel="1")
        if users:
            folder = scratch.dir(f"{name}-etc/sasl")  # where Debian's Postfix looks
            database = os.path.join(folder, "sasldb2")
            for user, password in users.items():
                must(["saslpasswd2", "-p", "-c", "-f", database, "-u", host, user], input=password)
            os.chmod(database, 0o644)
            scratch.file(f"{folder}/smtpd.conf",
                         f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\n"
                         f"mech_list: {mechanisms}\n")
            values.update(smtpd_sasl_auth_enable="yes", smtpd_sasl_local_domain=host, mynetworks="",
                          smtpd_relay_restrictions="permit_sasl_authenticated, reject",
                          smtpd_sasl_security_options="noanonymous",
                          smtpd_tls_auth_only="yes" if certificate else "no")
        values.update(main)
        super().__init__(scratch, name=name, **values)


class Dns:
    """NSD on a port of loopback, authoritative for the zones given as {name: records}. A zone of
    None is configured but not there: every question about it is answered with SERVFAIL."""

    def __init__(self, scratch, zones):
        self.scratch = scratch
        self.folder = scratch.dir("dns")
        self.port = scratch.port()
        blocks = []
        for zone, records in zones.items():
            path = os.path.join(self.folder, f"{zone}.zone")
            if records is not None:
                scratch.file(path, f"$ORIGIN {zone}.\n$TTL 60\n"
                             "@ SOA ns.peer.test. root.peer.test. 1 3600 600 86400 60\n"
                             "@ NS ns.peer.test.\n" + records)
            blocks.append(f"zone:\n  name: {zone}\n  zonefile: {path}\n")
        path = scratch.file(f"{self.folder}/nsd.conf", _NSD.format(
            port=self.port, folder=self.folder) + "".join(blocks))
        self.process, self.log = scratch.start(["/usr/sbin/nsd", "-d", "-c", path], "nsd")
        self.log.wait_for(r"nsd started")

    def stop(self):
        """From now on nobody answers."""
        self.process.terminate()
        self.process.wait()


class SignedDns:
    """Unbound as a validating resolver in front of NSD: zones in `signed` have signatures that its
    trust anchors vouch for, those in `plain` none. spoil(text) may change a signed zone afterwards."""

    def __init__(self, scratch, signed, plain, spoil=None):
        self.folder = scratch.dir("dns")
        server, self.port = scratch.port(), scratch.port()
        blocks, anchors = [], []
        for zone, records in {**signed, **plain}.items():
            path = scratch.file(f"{self.folder}/{zone}.zone", f"$ORIGIN {zone}.\n$TTL 60\n"
                                "@ SOA ns.peer.test. root.peer.test. 1 3600 600 86400 60\n"
                                "@ NS ns.peer.test.\n" + records)
            if zone in signed:
                key = must(["ldns-keygen", "-k", "-a", "ECDSAP256SHA256", zone], cwd=self.folder).strip()
                must(["ldns-signzone", "-f", f"{path}.signed", path, key], cwd=self.folder)
                path += ".signed"
                with open(path, encoding="ascii") as file:
                    text = file.read()
                scratch.file(path, spoil(text) if spoil else text)
                anchors.append(must(["ldns-key2ds", "-n", f"{key}.key"], cwd=self.folder).strip())
            blocks.append(f"zone:\n  name: {zone}\n  zonefile: {path}\n")
        path = scratch.file(f"{self.folder}/nsd.conf", _NSD.format(
            port=server, folder=self.folder) + "".join(blocks))
        _, log = scratch.start(["/usr/sbin/nsd", "-d", "-c", path], "nsd")
        log.wait_for(r"nsd started")
        path = scratch.file(f"{self.folder}/unbound.conf", _UNBOUND.format(
            port=self.port, server=server, folder=self.folder,
            anchors="".join(f'  trust-anchor: "{anchor}"\n' for anchor in anchors)))
        _, log = scratch.start(["/usr/sbin/unbound", "-d", "-p", "-c", path], "unbound")
        log.wait_for(r"start of service")


_UNBOUND = """\
server:
  interface: 127.0.0.1@{port}
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  do-not-query-localhost: no
  module-config: "validator iterator"
  local-zone: "test." nodefault
{anchors}stub-zone:
  name: "test."
  stub-addr: 127.0.0.1@{server}
remote-control:
  control-enable: no
"""

_NSD = """\
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  pidfile: ""
  database: ""
  zonelistfile: {folder}/zone.list
  xfrdfile: {folder}/xfrd.state
  xfrdir: {folder}
  server-count: 1
  verbosity: 1
  hide-version: yes
remote-control:
  control-enable: no
"""


def smtp_source(port, *options, to="user@sink.peer.test", sender="source@client.test", wait=True,
                scratch=None):
    """Postfix's load generator; options as its own."""
    argv = [f"{POSTFIX_SBIN}/smtp-source", "-f", sender, "-t", to, *map(str, options),
            f"inet:127.0.0.1:{port}"]
    if wait:
        done = run(argv, timeout=5 * TIMEOUT)
        assert done.returncode == 0, done.stderr
        return done
    return scratch.start(argv, "smtp-source")
