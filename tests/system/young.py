"""young.py - mail that is in the journal and has no file yet: seen, handled and kept as any other."""

import json
import os
import subprocess
import threading
import time

import pp_harness
import pp_peers
import pytest


GATES = []


@pytest.fixture(autouse=True)
def ends_open(scratch):
    yield
    for gate in GATES:
        gate.opened.set()
    GATES.clear()


class Gate:
    """A sink's answer that lets the end of a message wait until it is opened."""

    def __init__(self):
        self.reached, self.opened = threading.Semaphore(0), threading.Event()
        self.answer = None
        GATES.append(self)

    def __call__(self, verb, argument):
        if verb == "DOT":
            self.reached.release()
            assert self.opened.wait(60)
        return self.answer(verb, argument) if self.answer else None

    def wait(self):
        assert self.reached.acquire(timeout=60)


@pytest.fixture
def young(scratch):
    """A system whose one mail is on its way, and has no file for a minute."""

    def make(recipient="user@dest.test", **main):
        gate = Gate()
        sink = pp_peers.Sink(scratch, answer=gate)
        system = pp_harness.Pennypost(scratch, **{"journal_linger": "60s", **main})
        system.relay_to(sink).start()
        queue_id = system.send(recipient)
        gate.wait()
        assert system.queue_files() == []
        return system, sink, gate, queue_id

    return make


def listed(system):
    return [json.loads(line) for line in system.must("postqueue", "-j").splitlines()]


def journal_is_empty(system):
    return os.listdir(os.path.join(system.queue, "journal")) == []


def test_delivered_without_a_file(scratch, young):
    system, sink, gate, queue_id = young()
    gate.opened.set()
    system.wait_removed(queue_id)
    assert len(sink.wait(1)) == 1
    assert system.queue_files() == []
    system.stop()
    assert journal_is_empty(system)


def test_listed(scratch, young):
    system, _, _, queue_id = young()
    (mail,) = listed(system)
    assert (mail["queue_name"], mail["queue_id"]) == ("active", queue_id)
    assert mail["sender"] == "sender@client.test"
    assert [r["address"] for r in mail["recipients"]] == ["user@dest.test"]
    assert f"{queue_id}*" in system.must("mailq")


def test_postcat_makes_its_file(scratch, root, young):
    system, sink, gate, queue_id = young()
    assert "hello" in system.must("postcat", "-q", queue_id)
    assert system.queue_files() == [f"active/{queue_id}"]
    gate.opened.set()
    system.wait_removed(queue_id)
    assert len(sink.wait(1)) == 1
    assert system.queue_files() == []


def test_gets_a_file_when_it_lingers(scratch, young):
    gate = Gate()
    sink = pp_peers.Sink(scratch, answer=gate)
    system = pp_harness.Pennypost(scratch, journal_linger="0s").relay_to(sink).start()
    queue_id = system.send("user@dest.test")
    gate.wait()
    system.events.wait_for(f"^active {queue_id}$")
    while system.queue_files() != [f"active/{queue_id}"]:
        system.must("postqueue", "-p")  # a round through the daemon, not a sleep
    gate.opened.set()
    system.wait_removed(queue_id)
    assert len(sink.wait(1)) == 1
    assert system.queue_files() == []


@pytest.mark.parametrize("action, queue", [("-d", None), ("-h", "hold")])
def test_postsuper(scratch, root, young, action, queue):
    system, sink, gate, queue_id = young()
    gate.answer = lambda verb, _: "450 4.3.0 later" if verb == "DOT" else None
    system.must("postsuper", action, queue_id)
    gate.opened.set()
    system.events.wait_for(f"^(removed|held) {queue_id}$")
    assert system.queue_files() == ([f"{queue}/{queue_id}"] if queue else [])
    assert sink.mails == []


def test_deferred(scratch, young):
    system, sink, gate, queue_id = young()
    gate.answer = lambda verb, _: "450 4.3.0 later" if verb == "DOT" else None
    gate.opened.set()
    system.wait_deferred(queue_id)
    (mail,) = listed(system)
    assert mail["queue_name"] == "deferred"
    assert "450 4.3.0 later" in mail["recipients"][0]["delay_reason"]
    gate.answer = None
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)
    assert len(sink.wait(1)) == 1


def test_stop_leaves_a_file(scratch, young):
    system, sink, gate, queue_id = young(shutdown_timeout="1s")
    system.stop()
    assert [os.path.basename(path) for path in system.queue_files()] == [queue_id]
    assert journal_is_empty(system)
    gate.opened.set()
    system.start()
    system.wait_removed(queue_id)


@pytest.mark.parametrize("command", [["postqueue", "-p"], ["postqueue", "-j"], ["postsuper", "-s"],
                                     ["postcat", "-q", "{id}"], ["qshape", "incoming"]])
def test_killed_then_looked_at(scratch, root, young, command):
    """Who looks at the files of a killed daemon sees what it had taken."""
    system, _, gate, queue_id = young()
    system.kill()
    assert system.queue_files() == []
    said = system.must(*[word.format(id=queue_id) for word in command])
    assert system.queue_files() == [f"incoming/{queue_id}"]
    assert "postsuper" in command or "dest.test" in said
    assert journal_is_empty(system)
    stat = os.stat(f"{system.queue}/incoming/{queue_id}")
    assert (stat.st_mode & 0o777, stat.st_uid) == (0o700, os.stat(f"{system.queue}/incoming").st_uid)
    gate.opened.set()
    system.start()
    system.wait_removed(queue_id)


def test_killed_where_incoming_is_hashed(scratch, root, young):
    """What root's command makes is the daemon's, directories too."""
    system, sink, gate, queue_id = young(hash_queue_names="incoming deferred defer")
    system.kill()
    assert queue_id in system.must("postqueue", "-p")
    assert system.queue_files() == [f"incoming/{queue_id[0]}/{queue_id}"]
    gate.opened.set()
    system.start()
    system.wait_removed(queue_id)
    assert b"hello" in sink.wait(1)[0].data


def test_killed_then_listed_by_nobody(scratch, root, young):
    system, _, _, queue_id = young()
    system.kill()
    done = subprocess.run(system.argv("postqueue", "-p"), user="nobody", capture_output=True,
                          text=True, check=False)
    assert "journal" not in done.stdout + done.stderr
    assert not journal_is_empty(system)
    assert queue_id in system.must("postqueue", "-p")


def test_killed_when_some_have_it(scratch):
    """Who has it gets it no second time."""
    sink, other, gate = pp_peers.Sink(scratch), pp_peers.Sink(scratch), Gate()
    sink.answer = lambda verb, _: gate("DOT", "") if verb == "RCPT" and sink.mails else None
    system = pp_harness.Pennypost(scratch, journal_linger="60s", smtp_destination_recipient_limit="2",
                                  smtp_destination_concurrency_limit="1").relay_to(sink).start()
    everybody = [f"r{n}@dest.test" for n in range(6)]
    with system.client() as client:
        client.sendmail("sender@client.test", everybody, "Subject: test\r\n\r\nhello\r\n")
    gate.wait()
    system.log.wait_for("status=sent", count=2)
    assert system.queue_files() == []
    system.kill()
    system.relay_to(other)
    gate.opened.set()
    system.start()
    assert len(other.wait(2)) == 2
    assert sorted(r for m in sink.mails + other.mails for r in m.recipients) == everybody


def test_no_journal(scratch):
    sink = pp_peers.Sink(scratch)
    system = pp_harness.Pennypost(scratch, journal="no").relay_to(sink).start()
    queue_id = system.send("user@dest.test")
    system.wait_removed(queue_id)
    assert os.listdir(os.path.join(system.queue, "journal")) == ["receipts"]


def test_too_big_for_the_journal(scratch):
    gate = Gate()
    sink = pp_peers.Sink(scratch, answer=gate)
    system = pp_harness.Pennypost(scratch, journal_message_limit="100").relay_to(sink).start()
    queue_id = system.send("user@dest.test")
    gate.wait()
    assert system.queue_files() == [f"active/{queue_id}"]
    gate.opened.set()
    system.wait_removed(queue_id)


def test_active_queue_full(scratch):
    """What has no place in the active queue waits in a file."""
    gate = Gate()
    sink = pp_peers.Sink(scratch, answer=gate)
    system = pp_harness.Pennypost(scratch, journal_linger="60s", qmgr_message_active_limit="1",
                                  smtp_destination_concurrency_limit="1").relay_to(sink).start()
    ids = [system.send(f"u{n}@dest.test") for n in range(4)]
    gate.wait()
    while len(system.queue_files("incoming")) < 3:
        system.must("postqueue", "-p")
    assert sorted(m["queue_id"] for m in listed(system)) == sorted(ids)
    gate.opened.set()
    for queue_id in ids:
        system.wait_removed(queue_id)
    assert len(sink.wait(4)) == 4


def test_read_from_the_journal(scratch, young):
    """Where memory has no room for it."""
    system, sink, gate, _ = young(message_cache_size="0")
    gate.opened.set()
    body = "".join(f"line {n} of the body\r\n" for n in range(8000))
    system.wait_removed(system.send("other@dest.test", body=body))
    hello, long = (mail.data for mail in sink.wait(2))
    assert hello.endswith(b"\r\nhello\r\n") and long.endswith(b"\r\n" + body.encode())
    assert system.queue_files() == []


def rush(system, count=300):
    """Much mail at once: its files are put off."""
    pp_peers.smtp_source(system.port, "-s", 20, "-l", 2000, "-m", count)
    return count


def test_rush_deferred(scratch):
    """All of it is listed, once, with its reason, with and without a file, and goes when it can."""
    sink = pp_peers.Sink(scratch)
    system = pp_harness.Pennypost(scratch, relayhost=f"[127.0.0.1]:{scratch.port()}", message_cache_size="0",
                                  qmgr_message_active_limit="40").start()
    count = rush(system)
    while True:
        mails = listed(system)
        assert len({mail["queue_id"] for mail in mails}) == len(mails) == count
        if len(system.queue_files("deferred")) == count:
            break
    assert all("refused" in mail["recipients"][0]["delay_reason"] for mail in listed(system))
    system.relay_to(sink).reload()
    system.must("postqueue", "-f")
    for mail in mails:
        system.wait_removed(mail["queue_id"])
    assert len(sink.wait(count)) == count
    assert system.queue_files() == []


def test_rush_stopped(scratch):
    """What has failed is not tried at once by the next start, though a file was never made of it."""
    system = pp_harness.Pennypost(scratch, relayhost=f"[127.0.0.1]:{scratch.port()}").start()
    count = rush(system)
    system.log.wait_for("status=deferred", count=count)
    system.stop()
    mails = listed(system)
    assert {mail["queue_name"] for mail in mails} == {"deferred"} and len(mails) == count
    assert all("refused" in mail["recipients"][0]["delay_reason"] for mail in mails)
    assert all(os.stat(f"{system.queue}/{name}").st_mtime > time.time() + 200
               for name in system.queue_files("deferred"))


def test_rush_flushed(scratch):
    """Who flushes the queue means what rests, too."""
    sink = pp_peers.Sink(scratch)
    system = pp_harness.Pennypost(scratch, relayhost=f"[127.0.0.1]:{scratch.port()}").start()
    count = rush(system)
    system.relay_to(sink).reload()
    system.must("postqueue", "-f")
    assert len(sink.wait(count)) == count


def test_rush_half_done(scratch):
    """Who has it gets it no second time when what rests is flushed."""
    later = ["r1@dest.test"]
    sink = pp_peers.Sink(scratch, answer=lambda verb, argument: "450 4.3.0 later" if verb == "RCPT" and any(
        name in argument for name in later) else None)
    system = pp_harness.Pennypost(scratch).relay_to(sink).start()
    with system.client() as client:
        for _ in range(100):
            client.sendmail("sender@client.test", ["r0@dest.test", "r1@dest.test"], "Subject: test\r\n\r\nhello\r\n")
    sink.wait(100)
    later.clear()
    while True:
        system.must("postqueue", "-f")
        if not listed(system):
            break
    assert sorted(r for m in sink.mails for r in m.recipients) == ["r0@dest.test"] * 100 + ["r1@dest.test"] * 100

def test_rush_killed(scratch):
    """Waiting for its delivery, and for room among the active."""
    gate, other = Gate(), pp_peers.Sink(scratch)
    system = pp_harness.Pennypost(scratch, qmgr_message_active_limit="40", journal_linger="60s")
    system.relay_to(pp_peers.Sink(scratch, answer=gate)).start()
    count = rush(system)
    assert len(listed(system)) == count
    system.kill()
    assert len(listed(system)) == count
    system.relay_to(other).start()
    assert len(other.wait(count)) == count


@pytest.mark.parametrize("action, queue", [("-d", None), ("-h", "hold")])
@pytest.mark.parametrize("main", [{"defer_transports": "smtp"}, {"qmgr_message_active_limit": "40"}])
def test_rush_commands(scratch, root, action, queue, main):
    system = pp_harness.Pennypost(scratch, **main)
    if "defer_transports" not in main:
        gate = Gate()
        gate.answer = lambda verb, _: "450 4.3.0 later" if verb == "DOT" else None
        system.relay_to(pp_peers.Sink(scratch, answer=gate))
    system.start()
    count = rush(system)
    system.must("postsuper", action, "ALL")
    if "defer_transports" not in main:
        gate.opened.set()
    while sorted(m["queue_name"] for m in listed(system)) != ([queue] * count if queue else []):
        pass
    system.stop()
    assert len(system.queue_files()) == (count if queue else 0)
