"""stop.py - a stop ends in time, whatever does not answer: with code 0, and all mail in the spool."""

import errno
import os
import re
import signal
import smtplib
import socket
import threading
import time

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT

LIMIT = 1 + 5 + 5  # shutdown_timeout, what the threads have, and a busy machine


class Senders:
    """One mail each; those that got a 250."""

    def __init__(self, system, count):
        self.system, self.acknowledged = system, set()
        self.threads = [threading.Thread(target=self._send, args=(f"to{n}@dest.test",), daemon=True)
                        for n in range(count)]
        for thread in self.threads:
            thread.start()

    def _send(self, to):
        try:
            with smtplib.SMTP("127.0.0.1", self.system.port, timeout=TIMEOUT) as client:
                client.sendmail("sender@client.test", [to], b"Subject: x\r\n\r\nhello\r\n")
                self.acknowledged.add(to)
        except (smtplib.SMTPException, OSError):
            pass

    def wait(self):
        for thread in self.threads:
            thread.join(TIMEOUT)


def ends(system):
    begin = time.monotonic()
    system.process.send_signal(signal.SIGTERM)
    assert system.wait_exit(TIMEOUT) == 0
    assert time.monotonic() - begin < LIMIT


def arrives(system, sink, wanted):
    """In the next life everything that was acknowledged."""
    system.start()
    system.must("postqueue", "-f")
    with sink.changed:
        sink.changed.wait_for(lambda: wanted <= {to for m in sink.mails for to in m.recipients}, TIMEOUT)
    assert wanted <= {to for m in sink.mails for to in m.recipients}
    system.stop()
    assert system.queue_files() == [] and os.listdir(f"{system.queue}/journal") == []


@pytest.mark.parametrize("call,where,main", [
    ("fdatasync", "journal", {}), ("fsync", "files", {"journal": "no"}), ("unlinkat", "files", {"journal": "no"}),
    ("openat", "files", {"journal_linger": "0"})])
def test_a_disk_that_never_answers(scratch, shim, root, call, where, main):
    sink = pp_peers.Sink(scratch, answer=lambda verb, to: "450 4.2.0 later" if verb == "RCPT" and is_later
                         and re.search("to[135]@", to) else None)
    is_later = [True]
    system = pp_harness.Pennypost(scratch, shutdown_timeout="1s", **main).relay_to(sink)
    plain = system.env
    system.env = dict(plain, LD_PRELOAD=shim, FAULT_SPOOL=system.queue, FAULT_CALL=call, FAULT_NTH="2",
                      FAULT_SPAN="0", FAULT_ERRNO="0", FAULT_WHERE=where)
    system.spawn()
    system.env = plain
    system.wait_ready()
    senders = Senders(system, 6)
    system.log.wait_for(r"^fault: .* hangs$")
    ends(system)
    system.log.wait_for("stopped without waiting any longer")
    senders.wait()
    is_later.clear()
    arrives(system, sink, senders.acknowledged)


@pytest.mark.parametrize("call", ["openat", "write", "fdatasync", "renameat2"])
def test_a_full_disk(scratch, shim, root, call):
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: "450 4.2.0 later" if verb == "RCPT" and is_later
                         else None)
    is_later = [True]
    system = pp_harness.Pennypost(scratch, shutdown_timeout="1s").relay_to(sink)
    plain = system.env
    system.env = dict(plain, LD_PRELOAD=shim, FAULT_SPOOL=system.queue, FAULT_CALL=call, FAULT_NTH="4",
                      FAULT_SPAN="0", FAULT_ERRNO=str(errno.ENOSPC))
    system.spawn()
    system.env = plain
    system.wait_ready()
    senders = Senders(system, 6)
    senders.wait()
    ends(system)
    is_later.clear()
    arrives(system, sink, senders.acknowledged)


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "RCPT", "DOT"])
def test_a_receiver_that_hangs(scratch, root, verb):
    """Nobody's failure, and tried again by the next start."""
    reached, release = threading.Event(), threading.Event()

    def hang(said, _):
        if said != verb or release.is_set():
            return None
        reached.set()
        release.wait(TIMEOUT)
        return ""
    sink = pp_peers.Sink(scratch, answer=hang)
    system = pp_harness.Pennypost(scratch, shutdown_timeout="1s").relay_to(sink).start()
    system.send("you@dest.test")
    assert reached.wait(TIMEOUT)
    ends(system)
    assert len(system.queue_files()) == 1
    release.set()
    system.start()
    sink.wait(1)
    system.stop()
    assert len(sink.mails) == 1


def test_a_slow_lookup(scratch, root):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(TIMEOUT)
        system = pp_harness.Pennypost(scratch, shutdown_timeout="1s", dns_timeout="60s",
                                      dns_resolvers=f"127.0.0.1:{silent.getsockname()[1]}")
        system.start()
        system.send("you@dest.test")
        silent.recv(4096)
        ends(system)
        assert len(system.queue_files()) == 1
