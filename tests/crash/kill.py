"""kill.py - kill -9 under load, again and again: every mail that got its 250 arrives.

In full flight, while it stops, while it starts and makes files of what the last life left in the
journal, and with commands that do that between two lives. A mail may arrive twice only when the
receiver took it and the daemon died before it had read so: at most what was under way at that
moment, which is counted and compared; and none of those after whose reply the daemon went on.
PENNYPOST_KILLS: how many in all; PENNYPOST_SEED: which.
"""

import os
import random
import smtplib
import subprocess
import threading
import time

import pp_harness
import pp_peers
import pp_scratch
import pytest
from pp_scratch import SLOW, TIMEOUT

KILLS = int(os.environ.get("PENNYPOST_KILLS", "24" if os.environ.get("PENNYPOST_SANITIZE") else "200"))
SENDERS = 4
# Their share of the kills, how long a mail may be (lines), and main.cf.
WAYS = {
    "journal": (5, 500, {}),
    "no_linger": (1, 500, {"journal_linger": "0"}),
    "no_journal": (1, 500, {"journal": "no"}),
    "small_journal": (1, 30000, {"journal_size_limit": "1"}),
    "small_cache": (1, 500, {"message_cache_size": "4000"}),
    "small_active": (1, 500, {"qmgr_message_active_limit": "2"}),
    "slow_receiver": (1, 500, {}),
}


class Load:
    """Threads that send numbered mails as fast as they are taken, and note which got a 250."""

    def __init__(self, system, lines):
        self.system, self.lines = system, lines
        self.acknowledged, self.sent, self.next = set(), set(), 0
        self.changed = threading.Condition()
        self.ending = False
        self.killed = []  # from when to when, time.monotonic()

    def heard_before(self, mail):
        """How long before the end of the life it was delivered in its reply was sent, in seconds."""
        begin = min((begin for begin, end in self.killed if end > mail.taken), default=0)
        return begin - mail.replied if mail.replied else 0

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
                                    f"Subject: {name}\r\n\r\n" + "line\r\n" * random.randrange(self.lines))
                    self.note(name)
        except (smtplib.SMTPException, OSError):
            pass  # it was killed: what happened to this one nobody knows

    def _submit(self):
        while not self.ending:
            name = f"s{self.number()}"
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
        end(self.system, self.killed)
        self.ending = True
        for thread in threads:
            thread.join()


def kill(system, killed):
    begin = time.monotonic()
    system.kill()
    killed.append((begin, time.monotonic()))


def end(system, killed):
    """Now and then in the middle of a stop."""
    if random.random() < 0.2:
        system.process.terminate()
        time.sleep(random.random() * 0.1)
    kill(system, killed)


def between(system, killed):
    """What may happen before the next life; the number of further kills."""
    what = random.random()
    if what < 0.25:  # a start that does not come far
        system.spawn()
        time.sleep(random.random() * 0.1)
        kill(system, killed)
        return 1
    if what < 0.35:
        done = system.command("postqueue", "-p")
        assert done.returncode in (0, 69), done
    elif what < 0.45:
        assert system.command("postsuper", "-p").returncode == 0
        assert os.listdir(os.path.join(system.queue, "journal")) == []
    elif what < 0.55:  # a command that is killed as well, and several at once
        some = [subprocess.Popen(system.argv("postsuper", "-p"), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL) for _ in range(3)]
        time.sleep(random.random() * 0.02)
        some[0].kill()
        for process in some[:random.randrange(1, 4)]:  # the start meets the others
            process.wait()
    return 0


@pytest.fixture
def scratch():
    """What was written stays when a process dies, whether or not it was synced."""
    area = pp_scratch.Scratch(in_memory=True)
    yield area
    area.close()


def went_on(sink):
    """The mails after whose reply the daemon said something more on that connection."""
    later, heard, mails = set(), set(), {}
    for mail in sink.mails:
        mails.setdefault(mail.connection, []).append(mail)
    for connection, verb, _ in reversed(sink.commands):
        if verb == "DOT":
            mail = mails[connection].pop()
            if connection in later:
                heard.add(id(mail))
        later.add(connection)
    return heard


@pytest.mark.parametrize("way", WAYS)
def test_kill_9_under_load(scratch, root, capsys, way):
    share, lines, main = WAYS[way]
    kills, wanted = 0, max(2, KILLS * share // sum(row[0] for row in WAYS.values()))
    random.seed(int(os.environ.get("PENNYPOST_SEED", "1")))
    gate = {"slow@": "450 4.2.0 later"}
    delay = (lambda: random.random() * 0.3) if way == "slow_receiver" else None
    sink = pp_peers.Sink(scratch, delay=delay, answer=lambda verb, text: next(
        (reply for word, reply in gate.items() if word in text), None) if verb == "RCPT" else None)
    system = pp_harness.Pennypost(scratch, **main).relay_to(sink)
    load = Load(system, lines)
    before = sink.connections
    while kills < wanted:
        system.spawn().wait_ready()
        load.run_until(random.randrange(1, 40))
        kills += 1 + between(system, load.killed)
    open_connections = sink.connections - before
    gate.clear()
    system.start()
    system.must("postqueue", "-f")

    found, seen = {}, 0

    def arrivals():
        """By name, in order; looks at each mail once: there are thousands."""
        nonlocal seen
        fresh, seen = sink.mails[seen:], len(sink.mails)
        for mail in fresh:
            name = mail.header("Subject")
            if f"{name}@dest.test" in mail.recipients:
                found.setdefault(name, []).append(mail)
        return found

    with sink.changed:
        sink.changed.wait_for(lambda: load.acknowledged <= arrivals().keys(), 3 * TIMEOUT)
    lost = load.acknowledged - set(found)
    twice = [mail for mails in found.values() for mail in mails[:-1]]
    heard = went_on(sink)
    again = [mail.header("Subject") for mail in twice if id(mail) in heard]
    # A busy sink takes mail of a life that is over, so this is for one that mostly waits.
    ages = [age for age in map(load.heard_before, twice) if delay and age > 0]
    with capsys.disabled():
        print(f"\n{way}, {kills} kills: {len(load.sent)} sent, {len(load.acknowledged)} acknowledged, "
              f"{len(lost)} lost, {len(found) - len(load.acknowledged - lost)} unacknowledged arrived, "
              f"{len(twice)} twice ({open_connections} deliveries could be under way), "
              f"{len(again)} of them after their reply was read")
    assert not lost, sorted(lost)[:20]
    assert set(found) <= load.sent
    # Each connection to the sink had at most one mail without its answer when the daemon died.
    assert len(twice) <= open_connections
    # See replies.py; and nobody whose sendmail had no answer and left its mail in maildrop, too.
    assert not again, again
    assert max(ages, default=0) < 0.1 * SLOW, ages  # it may not have been read yet
    assert system.queue_files("corrupt") == []
