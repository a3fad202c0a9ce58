"""kill.py - kill -9 under load, again and again: every mail that got its 250 arrives.

A mail may arrive twice only when the receiver took it and the daemon died before it could note that:
at most what was under way at that moment, which is counted and compared.
"""

import os
import random
import smtplib
import subprocess
import threading

import pp_harness
import pp_peers
import pp_scratch
import pytest
from pp_scratch import TIMEOUT

ROUNDS = 12 if os.environ.get("PENNYPOST_SANITIZE") else 50
SENDERS = 4


class Load:
    """Threads that send numbered mails as fast as they are taken, and note which got a 250."""

    def __init__(self, system):
        self.system = system
        self.acknowledged, self.sent, self.next = set(), set(), 0
        self.changed = threading.Condition()
        self.ending = False

    def number(self):
        with self.changed:
            self.next += 1
            return self.next

    def note(self, name):
        with self.changed:
            self.acknowledged.add(name)
            self.changed.notify_all()

    def _send(self):
        try:
            with smtplib.SMTP("127.0.0.1", self.system.port, timeout=TIMEOUT) as client:
                client.ehlo("client.test")
                while not self.ending:
                    name = f"m{self.number()}"
                    self.sent.add(name)
                    slow = "slow" if random.random() < 0.2 else "good"
                    client.sendmail("sender@client.test", [f"{slow}@dest.test", f"{name}@dest.test"],
                                    f"Subject: {name}\r\n\r\n" + "line\r\n" * random.randrange(500))
                    self.note(name)
        except (smtplib.SMTPException, OSError):
            pass  # it was killed: what happened to this one nobody knows

    def _submit(self):
        while not self.ending:
            name = f"m{self.number()}"
            self.sent.add(name)
            done = subprocess.run(
                self.system.argv("sendmail", "-f", "sender@client.test", f"{name}@dest.test"),
                input=f"Subject: {name}\n\nhello\n".encode(), capture_output=True, check=False)
            if done.returncode == 0:
                self.note(name)

    def run_until(self, count):
        """Sends until so many more are acknowledged, then kills the daemon in full flight."""
        self.ending = False
        threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        threads.append(threading.Thread(target=self._submit))
        for thread in threads:
            thread.start()
        with self.changed:
            target = len(self.acknowledged) + count
            assert self.changed.wait_for(lambda: len(self.acknowledged) >= target, TIMEOUT)
        self.system.kill()
        self.ending = True
        for thread in threads:
            thread.join()


@pytest.fixture
def scratch():
    """What was written stays when a process dies, whether or not it was synced."""
    area = pp_scratch.Scratch(in_memory=True)
    yield area
    area.close()


def test_kill_9_under_load(scratch, root, capsys):
    random.seed(int(os.environ.get("PENNYPOST_SEED", "1")))
    gate = {"slow@": "450 4.2.0 later"}
    sink = pp_peers.Sink(scratch, answer=lambda verb, text: next(
        (reply for word, reply in gate.items() if word in text), None) if verb == "RCPT" else None)
    system = pp_harness.Pennypost(scratch).relay_to(sink)
    load = Load(system)
    open_connections = 0
    for _ in range(ROUNDS):
        system.spawn().wait_ready()
        before = sink.connections
        load.run_until(random.randrange(1, 40))
        open_connections += sink.connections - before
    gate.clear()
    system.start()
    system.must("postqueue", "-f")

    def arrivals():
        found = {}
        for mail in list(sink.mails):
            if f"{mail.header('Subject')}@dest.test" in mail.recipients:
                found[mail.header("Subject")] = found.get(mail.header("Subject"), 0) + 1
        return found

    with sink.changed:
        sink.changed.wait_for(lambda: load.acknowledged <= set(arrivals()), TIMEOUT)
    found = arrivals()
    lost = load.acknowledged - set(found)
    twice = sum(count - 1 for count in found.values())
    with capsys.disabled():
        print(f"\n{ROUNDS} kills: {len(load.sent)} sent, {len(load.acknowledged)} acknowledged, "
              f"{len(lost)} lost, {len(found) - len(load.acknowledged - lost)} unacknowledged arrived, "
              f"{twice} twice ({open_connections} deliveries could be under way)")
    assert not lost, sorted(lost)[:20]
    assert set(found) <= load.sent
    # Each connection to the sink had at most one mail without its answer when the daemon died.
    assert twice <= open_connections
    assert system.queue_files("corrupt") == []
