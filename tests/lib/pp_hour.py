"""pp_hour.py - a scripted hour of traffic, and what it must count: for programs that read the log.

Everything a small server's log has: mail by SMTP and sendmail, deliveries with and without TLS
and SASL, refused connections, lost ones, 4xx and 5xx replies, holds, deletes, requeues, expiry, and
clients that misbehave. `made` has the counts, kept by what was done here and what the sinks got,
never by the log.
"""

import collections
import os
import re
import smtplib
import socket
import time

import pp_harness
import pp_peers
import pp_spool
from pp_scratch import TIMEOUT

INSIDE, OUTSIDE = "inside.test", "outside.test"
KNOWN = ("ok", "ok2", "later", "never", "drop", "late", "forced")
DAY = 86400


def stranger(scratch, port, address, helo="client.test"):
    """A client that is not in mynetworks, after EHLO."""
    client = smtplib.SMTP(timeout=TIMEOUT, local_hostname=helo, source_address=(address, 0))
    scratch.on_exit(client.close)
    client.connect("127.0.0.1", port)
    client.ehlo()
    return client


def size_of(content):
    """As a message's size is counted: the bytes of its records."""
    return sum(len(pp_spool.record(b"N", line)) for line in content.splitlines())


class Hour:
    """Runs the script against a system, which it configures and starts."""

    def __init__(self, scratch, system, ca):
        self.scratch, self.system = scratch, system
        self.made = collections.Counter()
        self.senders, self.recipients = collections.Counter(), collections.Counter()
        self.begun = time.time()
        self.sink = pp_peers.Sink(scratch, answer=self._answer)
        self.provider_sink = pp_peers.Sink(scratch)
        name = "relay.pennypost.test"
        self.provider = pp_peers.Relay(scratch, self.provider_sink, ca.issue(name),
                                       {"kate": "s3cret"}, host=name)
        self._configure(ca)

    def _configure(self, ca):
        passwords = self.scratch.file(
            "sasl_passwd", f"[127.0.0.1]:{self.provider.listen} kate:s3cret\n", 0o640)
        os.chown(passwords, 0, pp_harness.gid_of("postfix"))
        known = self.scratch.file("known", "".join(f"{user}@{INSIDE} x\n" for user in KNOWN))
        self.system.log_to_file().write_config(
            mynetworks="127.0.0.1/32", relayhost=f"[127.0.0.1]:{self.provider.listen}",
            relay_domains=INSIDE, relay_transport=f"relay:[127.0.0.1]:{self.sink.port}",
            relay_recipient_maps=f"texthash:{known}", smtpd_peername_lookup="no",
            smtpd_helo_required="yes", smtpd_error_sleep_time="0", smtpd_hard_error_limit="4",
            smtpd_helo_restrictions="permit_mynetworks, reject_non_fqdn_helo_hostname",
            smtpd_sender_restrictions="permit_mynetworks, reject_non_fqdn_sender",
            smtpd_data_restrictions="reject_unauth_pipelining", smtp_tls_security_level="encrypt",
            relay_destination_recipient_limit="1", smtp_tls_CAfile=ca.file, smtp_tls_loglevel="1",
            smtp_sasl_auth_enable="yes", smtp_sasl_password_maps=f"texthash:{passwords}",
            smtp_sasl_security_options="noanonymous")
        plain = "relay unix - - n - - smtp -o smtp_tls_security_level=none"
        self.system.master = re.sub(r"(?m)^relay .*$", plain, self.system.master)
        self.system.write_config()

    @staticmethod
    def _answer(verb, argument):
        if verb == "RCPT" and re.search("<(later|late|forced)@", argument):
            return "450 4.2.0 come again"
        if verb == "RCPT" and "<never@" in argument:
            return "550 5.7.1 go away"
        if verb == "RCPT" and "<drop@" in argument:
            return ""
        return None

    def run(self):
        self._old_mail()
        self.system.start()
        self._outside()
        self._inside()
        self._strangers()
        self.made["connections"] = 18  # eight of their own, one for each mail to outside, and one
        self._administrator()
        self._bytes()
        return self

    def send(self, to, sender, client=None, **options):
        to = [to] if isinstance(to, str) else to
        queue_id = self.system.send(to, sender=sender, client=client, **options)
        self.made["received"] += 1
        self.senders[sender] += 1
        return queue_id

    def _deferred(self, queue_id, times=1):
        self.system.wait_deferred(queue_id, times)
        self.made["deferrals"] += 1

    def _sent(self, queue_id, *recipients):
        self.system.wait_removed(queue_id)
        self.made["removed"] += 1
        for to in recipients:
            self.made["sent"] += 1
            self.recipients[to] += 1

    def _old_mail(self):
        """Six days old, in deferred and hold since before the start; flushed, the first expires."""
        spool = pp_spool.Spool(self.system.queue)
        created = int(time.time()) - 6 * DAY
        to = f"late@{INSIDE}"
        data, offsets = pp_spool.queue_file(f"old@{OUTSIDE}", [to], created, 123456,
                                            [b"Subject: old", b"", b"x" * 500])
        log = pp_spool.defer_log([(to, offsets[0], "4.2.0", "come again", "")])
        with pp_spool.as_user(spool.owner):
            self.old = spool.put("deferred", data, created, 123456, created + 8 * DAY, log)
            self.held = spool.put("hold", data, created, 654321, created + 8 * DAY, log)
        self.old_size = size_of(b"Subject: old\n\n" + b"x" * 500)

    def _outside(self):
        """Nobody listens at first; then the provider does, with TLS and SASL."""
        refused = []
        for number in range(7):  # one by one, or the destination would count as dead
            refused.append(self.send(f"user{number}@{OUTSIDE}",
                                     "alice@app.test" if number < 4 else "bob@app.test",
                                     body="x" * 100 * number + "\r\n"))
            self._deferred(refused[-1])
            self.made["refused"] += 1
        self.provider.start()
        self.system.must("postqueue", "-f")
        for number, queue_id in enumerate(refused):
            self._sent(queue_id, f"user{number}@{OUTSIDE}")
        self.made["retries"] = 8
        # The flush met the old mail: tried once more, then returned to its sender.
        self._returned(self.old, f"old@{OUTSIDE}", "deferrals", "expired")

    def _returned(self, queue_id, sender, *counts):
        """A notice goes to the sender by way of the provider."""
        for name in counts:
            self.made[name] += 1
        match = self.system.log.wait_for(rf"{queue_id}: sender non-delivery notification: (\w+)")
        self.system.wait_removed(queue_id)
        self.made["notices"] += 1
        self.made["removed"] += 1
        self._sent(match.group(1), sender)

    def _inside(self):
        client = self.system.client()
        for number in range(5):
            queue_id = self.send([f"ok@{INSIDE}", f"ok2@{INSIDE}"], "carol@app.test",
                                 client=client, subject=f"both {number}", body="y" * 300 + "\r\n")
            self.made["second recipients"] += 1
            self._sent(queue_id, f"ok@{INSIDE}", f"ok2@{INSIDE}")
        self.later = [self.send(f"later@{INSIDE}", "carol@app.test", client, subject=f"later {n}")
                      for n in range(4)]
        for queue_id in self.later:
            self._deferred(queue_id)
        for number in range(3):
            queue_id = self.send(f"never@{INSIDE}", f"bounced@{OUTSIDE}", client)
            self._returned(queue_id, f"bounced@{OUTSIDE}", "bounced")
        self.dropped = self.send(f"drop@{INSIDE}", "carol@app.test", client)
        self._deferred(self.dropped)
        self.forced = self.send(f"forced@{INSIDE}", f"dave@{OUTSIDE}", client)
        self._deferred(self.forced)
        client.quit()

    def _strangers(self):
        def quits(client):
            client.quit()

        def refuses(address, times, sender, to, code, helo="client.test"):
            client = stranger(self.scratch, self.system.port, address, helo)
            for _ in range(times):
                client.rset()
                client.mail(sender)
                answer = client.rcpt(to)
                assert answer[0] == code, answer
                self.made["rejected"] += 1
                self.made[f"rejected {code}"] += 1
            quits(client)

        for _ in range(2):
            refuses("127.0.0.2", 3, "spam@spam.test", "x@elsewhere.test", 454)
        refuses("127.0.0.3", 3, "spam@spam.test", f"nobody@{INSIDE}", 550)
        refuses("127.0.0.3", 2, "spam@spam.test", f"nobody@{INSIDE}", 550)
        refuses("127.0.0.4", 3, "spam", f"ok@{INSIDE}", 504)
        refuses("127.0.0.5", 2, "spam@spam.test", f"ok@{INSIDE}", 504, helo="spam")
        for _ in range(2):  # connects and leaves
            with socket.create_connection(("127.0.0.1", self.system.port), TIMEOUT,
                                          ("127.0.0.7", 0)) as sock:
                assert sock.recv(200).startswith(b"220 ")
            self.made["lost"] += 1
        client = stranger(self.scratch, self.system.port, "127.0.0.8")
        assert client.docmd("AUTH", "PLAIN AGEAYg==")[0] == 503
        quits(client)
        client = stranger(self.scratch, self.system.port, "127.0.0.6")
        for number in range(4):
            assert client.docmd("NONSENSE", str(number))[0] == 500
        assert client.getreply()[0] == 421
        client.close()
        self.made["too many errors"] += 1
        self.system.log.wait_for(r"too many errors after \S+ from \S*\[127\.0\.0\.6\]")
        self.system.log.wait_for(r"lost connection after CONNECT from \S*\[127\.0\.0\.7\]", count=2)

    def _administrator(self):
        """Hold, release, delete, requeue, force to expire."""
        first, second, third, fourth = self.later
        self.made.update({"held": 3, "requeued": 1})
        self.system.must("postsuper", "-h", first, "-h", second, "-h", third)
        self.system.must("postsuper", "-H", second)
        self.system.must("postsuper", "-d", third)
        self.system.must("postsuper", "-e", self.forced)
        self.system.must("postqueue", "-i", self.forced)
        self._returned(self.forced, f"dave@{OUTSIDE}", "force-expired")
        self.made["retries"] += 1
        self.system.must("postsuper", "-r", fourth)
        self._submit()  # Postfix looks into maildrop when something is dropped there
        match = self.system.log.wait_for(
            rf"pickup\[\d+\]: (\w+): uid=\d+ from=<[^>]*> orig_id={fourth}")
        self.requeued = match.group(1)
        self._deferred(self.requeued)
        self.made["removed and deleted"] = self.made["removed"] + 1
        self.made["accepted"] = self.made["received"] + 1  # it came through pickup once more
        self.senders["carol@app.test"] += 1

    def _submit(self):
        for number in range(3):
            done = self.system.command("sendmail", "-f", "cron@app.test", f"ok@{INSIDE}",
                                       input=f"Subject: job {number}\n\ndone\n")
            assert done.returncode == 0, done.stderr
            self.made["received"] += 1
            self.made["submitted"] += 1
            self.senders["cron@app.test"] += 1
        for number in range(3):
            match = self.system.log.wait_for(
                r"pickup\[\d+\]: (\w+): uid=\d+ from=<cron@app\.test>$", count=number + 1)
            self._sent(match.group(1), f"ok@{INSIDE}")

    def _bytes(self):
        """Sizes as queued: of the content that arrived, or of what was offered in vain."""
        offered, size = collections.Counter(), 0
        for _, verb, argument in self.sink.commands:
            if verb == "MAIL":
                size = int(re.search(r"SIZE=(\d+)", argument).group(1))
            elif verb == "RCPT":
                offered[re.search("<(.*?)@", argument).group(1)] += size
        delivered, once = 0, {}
        for mail, at_provider in [(m, False) for m in self.sink.mails] + \
                [(m, True) for m in self.provider_sink.wait(self.made["notices"] + 7)]:
            data = mail.data.replace(b"\r\n", b"\n")
            if at_provider:  # without the field that the provider has put on top
                data = re.sub(rb"\AReceived: .*\n([ \t].*\n)*", b"", data)
            size = size_of(data)
            delivered += size * len(mail.recipients)
            if mail.sender:
                once[re.search(rb"\bid (\w+)", data).group(1)] = size
            else:
                self.made["notice bytes"] += size
            if mail.sender and at_provider:
                self.made["tried again bytes"] += size
        self.made["bytes delivered"] = delivered
        self.made["bytes received"] = sum(once.values()) + sum(
            offered[user] for user in ("later", "never", "drop", "forced"))
        self.made["tried again bytes"] += offered["forced"] + self.old_size

    def queued(self, queue):
        """Sizes of what is in the queue at the end."""
        ids = {"deferred": (self.later[1], self.dropped, self.requeued),
               "hold": (self.later[0], self.held)}[queue]
        return [size_of(self.system.must("postcat", "-bh", "-q", queue_id).encode())
                for queue_id in ids]
