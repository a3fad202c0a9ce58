"""faults.py - each system call on the spool fails once, at each place: what was acknowledged arrives.

fault.c is loaded into the daemon. A first run counts the calls, then there is a run for each place.
"""

import errno
import os
import re
import smtplib
import subprocess

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT, Scratch

CALLS = ["openat", "write", "pwrite", "writev", "pwritev", "read", "pread", "fsync", "fdatasync", "fchmod",
         "futimens", "utimensat", "renameat", "renameat2", "linkat", "ftruncate", "unlinkat"]
PLACES = 14  # of each call: mail for mail they are the same again


class Run:
    """A life of the daemon with one fault, and a second life without."""

    def __init__(self, shim, call, nth, number, span=1, where=""):
        self.scratch = Scratch(in_memory=True)
        self.gate = {"slow@": "450 4.2.0 later", "bad@": "550 5.1.1 nobody"}
        self.sink = pp_peers.Sink(self.scratch, answer=self.answer)
        system = pp_harness.Pennypost(self.scratch, shutdown_timeout="2s")
        self.system = system.relay_to(self.sink)
        self.plain = dict(system.env)
        system.env.update(LD_PRELOAD=shim, FAULT_SPOOL=system.queue, FAULT_CALL=call,
                          FAULT_NTH=str(nth), FAULT_SPAN=str(span), FAULT_ERRNO=str(number), FAULT_WHERE=where)
        self.acknowledged = set()

    def answer(self, verb, argument):
        if verb == "RCPT":
            return next((reply for word, reply in self.gate.items() if word in argument), None)
        return None

    def send(self, subject, *to):
        """Notes the mail if it was acknowledged; whatever else the server says is its right."""
        try:
            with smtplib.SMTP("127.0.0.1", self.system.port, timeout=TIMEOUT) as client:
                client.sendmail("sender@client.test", to, (
                    f"Subject: {subject}\r\n\r\n" + "line of the body\r\n" * 20).encode())
                self.acknowledged |= {(subject, name) for name in to}
        except smtplib.SMTPResponseException as refused:
            assert 400 <= refused.smtp_code < 500, refused
        except smtplib.SMTPRecipientsRefused as refused:
            assert all(400 <= code < 500 for code, _ in refused.recipients.values()), refused
        except (smtplib.SMTPServerDisconnected, ConnectionError):
            pass

    def first_life(self):
        """Mail that is delivered, deferred, returned, and all of it; then the end."""
        system = self.system
        env, system.env = system.env, self.plain
        self.preloaded(env)
        self.send("plain", "good@dest.test")
        self.send("mixed", "good@dest.test", "slow@dest.test", "bad@dest.test")
        self.send("slow", "slow@dest.test")
        self.send("last", "good@dest.test")
        system.command("postqueue", "-f")
        if system.is_up():
            system.process.terminate()
        system.wait_exit()
        return system.log

    def preloaded(self, env):
        """Only the daemon has the shim; the commands do not."""
        mine, self.system.env = self.system.env, env
        self.system.spawn()
        self.system.env = mine
        self.system.wait_ready()

    def second_life(self):
        """Everything is taken now: what was acknowledged has to be there."""
        self.gate.clear()
        system = self.system
        system.start()
        system.must("postqueue", "-f")
        wanted = {(subject, to) for subject, to in self.acknowledged if to != "bad@dest.test"}

        def arrived():
            return {(m.header("Subject"), to) for m in self.sink.mails for to in m.recipients}
        with self.sink.changed:
            self.sink.changed.wait_for(lambda: wanted <= arrived(), TIMEOUT)
        assert wanted <= arrived(), f"lost: {wanted - arrived()}"
        if ("mixed", "bad@dest.test") in self.acknowledged:
            with self.sink.changed:
                assert self.sink.changed.wait_for(lambda: any(
                    m.recipients == ["sender@client.test"] for m in self.sink.mails) or (
                        "mixed", "bad@dest.test") in arrived(), TIMEOUT), "nobody was told"
        system.stop()
        assert system.queue_files("corrupt") == []

    def close(self):
        self.scratch.close()


def count(shim, call, where):
    run = Run(shim, call, 0, errno.EIO, where=where)
    try:
        log = run.first_life()
        calls = log.find(rf"^fault: (\d+) calls of {call}$")
        assert len(run.acknowledged) == 6
        run.second_life()
        return max(int(match.group(1)) for match in calls)
    finally:
        run.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("where", ["files", "journal"])
def test_each_place(shim, root, call, number, where):
    places = count(shim, call, where)
    if places == 0:
        pytest.skip(f"{call} is not used on messages")
    # Those of the journal are many and alike: from all over its life.
    step = max(1, places / PLACES) if where == "journal" else 1
    for nth in sorted({1 + int(i * step) for i in range(min(places, PLACES))}):
        run = Run(shim, call, nth, number, where=where)
        try:
            log = run.first_life()
            # What has no room in the journal becomes a file, as ever: nothing to be said.
            fired = log.find(r"^fault: \w+ .* fails: ") if where == "files" or number == errno.EIO else []
            if call == "openat":  # read ahead for a listing, or its directory: gone around
                fired = [m for m in fired if not re.search(r"/defer(red)?/\w(/\w+)? fails: ", m.group(0))]
            run.second_life()
            # Nobody may be silent about it, but for reading what is then read again.
            if fired and call not in ("read", "pread"):
                text = os.strerror(number)
                told = log.find(rf"postfix/.*(?:{text}|write error|Insufficient|corrupt)")
                assert told, f"{call} {nth}: nothing was logged\n{log.tail()}"
        except AssertionError as error:
            raise AssertionError(f"{call}, place {nth} of {places}: {error}\n"
                                 f"{run.scratch.report()}") from error
        finally:
            run.close()


@pytest.mark.parametrize("call", ["openat", "write", "fsync", "renameat2"])
def test_from_some_moment_on_everything_fails(shim, root, call):
    """A disk that has died: all that follows fails, until the next life."""
    for nth in (1, 4, 9):
        run = Run(shim, call, nth, errno.EIO, span=0)
        try:
            run.first_life()
            run.second_life()
        except AssertionError as error:
            raise AssertionError(f"{call} from {nth}: {error}\n{run.scratch.report()}") from error
        finally:
            run.close()


@pytest.mark.parametrize("call", ["openat", "write", "writev", "pwrite", "fsync", "fdatasync", "fchmod",
                                  "renameat2", "renameat"])
def test_sendmail_exits_0_only_when_the_mail_is_safe(scratch, shim, root, sink, call):
    system = pp_harness.Pennypost(scratch).relay_to(sink)
    system.start()
    system.stop()
    good = 0
    for nth in range(1, 5):
        env = dict(system.env, LD_PRELOAD=shim, FAULT_SPOOL=system.queue, FAULT_CALL=call,
                   FAULT_NTH=str(nth), FAULT_ERRNO=str(errno.ENOSPC))
        done = subprocess.run(system.argv("sendmail", "-f", "me@client.test", f"you{nth}@dest.test"),
                              input=b"Subject: x\n\nhello\n", env=env, capture_output=True,
                              check=False)
        fired = b"fails: " in done.stderr
        assert (done.returncode == 75) if fired else (done.returncode == 0), done
        good += done.returncode == 0
        assert len(system.queue_files("maildrop")) == good
    system.start()
    sink.wait(good)
