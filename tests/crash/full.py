"""full.py - killed with mail in the journal, the disk full then or not: it starts, and delivers.

What is in the journal has no room for files. Nothing is lost or sent twice for that, by
kills of the next lives either, and the commands change nothing and say why.
"""

import hashlib
import json
import os
import re
import smtplib
import threading
import time

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT, fill, small_disk

SENDERS, MAILS = 4, 120
FULL = "No space left on device"
FOUND = r"(\d+) messages of the last run found in the journal"


@pytest.fixture
def small(scratch, root):
    return small_disk(scratch, "16m")


class Gate:
    """A sink that takes nothing while it is shut, and then each recipient once, it is hoped."""

    def __init__(self, scratch):
        self.words = {"": "450 4.2.0 later"}
        self.sink = pp_peers.Sink(scratch, answer=self.answer)

    def answer(self, verb, argument):
        if verb == "RCPT":
            return next((reply for word, reply in self.words.items() if word in argument), None)
        return None

    def received(self):
        return sorted(to for mail in self.sink.mails for to in mail.recipients)

    def wait(self, wanted, timeout=TIMEOUT):
        with self.sink.changed:
            self.sink.changed.wait_for(lambda: set(self.received()) >= wanted, timeout)
        assert wanted - set(self.received()) == set()


def load(system, count):
    """The recipients whose mail was acknowledged, until the daemon is killed."""
    taken, changed = set(), threading.Condition()

    def send(number):
        try:
            with smtplib.SMTP("127.0.0.1", system.port, timeout=TIMEOUT) as client:
                for i in range(count):
                    to = f"m{number}.{i}@dest.test"
                    client.sendmail("sender@client.test", [to], "Subject: x\r\n\r\n" + "line\r\n" * 300)
                    with changed:
                        taken.add(to)
                        changed.notify_all()
        except (smtplib.SMTPException, OSError):
            pass
    threads = [threading.Thread(target=send, args=(n,)) for n in range(SENDERS)]
    for thread in threads:
        thread.start()
    with changed:
        assert changed.wait_for(lambda: len(taken) >= SENDERS * count * 3 // 4, TIMEOUT)
    system.kill()
    for thread in threads:
        thread.join()
    return taken


def contents(system):
    """All files of the spool, by what is in them."""
    found = {}
    for folder, _, names in os.walk(system.queue):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    found[path] = hashlib.sha256(file.read()).hexdigest()
    return found


def make(scratch, small, gate, **main):
    return pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool", message_size_limit="100000",
                                mail_owner="postfix", **main).relay_to(gate.sink)


def full_start(system):
    system.start()
    return int(system.log.wait_for(FOUND).group(1))


def no_room(system):
    """It was noticed, and told once for all, as often as it began."""
    line = f"its queue file cannot be made: {FULL}: it stays in the journal"
    system.log.wait_for(line)
    with system.log.changed:
        again = len(system.log.find("there is room for queue files again"))
        assert 0 <= len(system.log.find(line)) - again <= 1


@pytest.mark.parametrize("journal", ["yes", "no"])
def test_what_the_journal_holds_is_delivered(scratch, small, journal):
    gate = Gate(scratch)
    system = make(scratch, small, gate, minimal_backoff_time="1s", maximal_backoff_time="1s").start()
    wanted = load(system, MAILS)
    files = len(system.queue_files())  # of the first, before it was a rush
    ballast = fill(small)
    before = contents(system)
    for command in (["postqueue", "-p"], ["postqueue", "-j"], ["postsuper", "-d", "ALL"], ["mailq"],
                    ["postcat", "-q", "0123456789"], ["postsuper", "-p"]):
        done = system.command(*command)
        assert done.returncode not in (0, 99), command
        assert re.search(rf"fatal: .*small/spool: no room for .*{FULL}.*make room", done.stderr), done.stderr
        assert contents(system) == before, command
    system.write_config(journal=journal)
    assert full_start(system) + files >= len(wanted)
    client = system.client()
    client.ehlo()
    code, text = client.mail("a@client.test")
    assert code == 452 and text.startswith(b"4.3.1"), (code, text)
    # All of it is listed once all segments are taken, and has no file.
    end = time.monotonic() + TIMEOUT
    while len(system.must("postqueue", "-j").splitlines()) < len(wanted):
        assert time.monotonic() < end
    # A file that is tried again leaves the page of its log to another.
    assert files <= len(system.queue_files()) <= 2 * files
    no_room(system)
    some = sorted(wanted)[::3]
    gate.words = {to: "450 4.2.0 later" for to in set(wanted) - set(some)}
    gate.wait(set(some))  # it is tried again although no file says when
    system.kill()
    full_start(system)
    system.must("postqueue", "-f")
    gate.words = {}
    gate.wait(wanted, 2 * TIMEOUT)
    with gate.sink.changed:
        again = len(gate.received()) - len(set(gate.received()))
    assert again <= 20  # what was under way at two kills
    for to in set(gate.received()) - wanted:
        assert re.match(r"m\d+\.\d+@", to)  # on its way when it was killed
    os.remove(ballast)
    system.wait_removed(system.send("late@dest.test"))
    system.stop()
    assert system.queue_files() == [] and os.listdir(f"{system.queue}/journal") == []


def test_room_comes_back(scratch, small):
    """Then all is as ever: files in deferred/, and nothing of the last run in the journal."""
    gate = Gate(scratch)
    system = make(scratch, small, gate).start()
    wanted = load(system, 20)
    files = len(system.queue_files())
    ballast = fill(small)
    count = full_start(system)
    system.log.wait_for("status=deferred", count=count)
    no_room(system)
    os.remove(ballast)
    system.log.wait_for("there is room for queue files again")
    system.events.wait_for("^deferred ", count=count)
    assert len(system.queue_files("deferred")) == count + files == len(system.queue_files())
    system.stop()
    assert os.listdir(f"{system.queue}/journal") == []
    gate.words = {}
    system.start()
    system.must("postqueue", "-f")
    gate.wait(wanted)
    system.log.wait_for(": removed$", count=count + files)
    assert len(gate.received()) == count + files


def test_a_stop_without_room_leaves_it_for_the_next_start(scratch, small):
    gate = Gate(scratch)
    system = make(scratch, small, gate).start()
    wanted = load(system, 20)
    files = system.queue_files()
    ballast = fill(small)
    count = full_start(system)
    row = next(row for row in map(json.loads, system.must("postqueue", "-j").splitlines())
               if not any(row["queue_id"] in path for path in files))
    gone = row["recipients"][0]["address"]
    system.must("postsuper", "-d", row["queue_id"])
    system.stop()
    assert len(system.queue_files()) == len(files)
    assert system.log.find(f"journal: what it holds cannot be made into files: {FULL}")
    os.remove(ballast)
    gate.words = {}
    system.start()
    system.must("postqueue", "-f")
    gate.wait(wanted - {gone})
    system.log.wait_for(": removed$", count=count + len(files) - 1)
    assert len(gate.received()) == count + len(files) - 1 and gone not in gate.received()


def test_a_start_makes_no_files(scratch, sink):
    """Who was killed serves at once, whatever is in the journal: it is young mail again."""
    sink.answer = lambda verb, _: "450 4.2.0 later" if verb == "RCPT" else None
    system = pp_harness.Pennypost(scratch, journal_linger="60s").relay_to(sink).start()
    wanted = load(system, 30)
    files = len(system.queue_files())  # of the first, before it was a rush
    system.start()
    count = files + int(system.log.wait_for(FOUND).group(1))
    assert count >= len(wanted) and len(system.must("postqueue", "-j").splitlines()) == count
    assert len(system.queue_files()) == files
    sink.answer = lambda verb, _: None
    system.must("postqueue", "-f")
    system.wait_empty()
    assert wanted <= {to for mail in sink.mails for to in mail.recipients} and len(sink.mails) == count
    system.stop()
    assert os.listdir(f"{system.queue}/journal") == []
