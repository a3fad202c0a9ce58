"""postsuper_live.py - postsuper beside a daemon that takes and delivers mail, and in its absence."""

import collections
import fcntl
import itertools
import os
import pwd
import re
import subprocess
import threading
import time

import pp_harness
import pp_peers
import pp_spool
import pytest
from pp_scratch import TIMEOUT

LATER = "450 4.2.0 later"


def summary(done, what):
    assert done.returncode == 0, done.stderr
    return int(re.search(rf"postsuper: {what}: (\d+) message", done.stderr).group(1))


def until(condition, what, timeout=TIMEOUT):
    """Looks until it is true: nobody tells when a file has gone."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what


def deleted_files(path):
    return sum(len(names) for _, _, names in os.walk(f"{path}/deleted"))


class Senders:
    """Threads that send mails to one recipient each, whom nobody else has."""

    def __init__(self, system, threads, each):
        self.system, self.numbers, self.sent, self.each = system, itertools.count(), [], each
        self.threads = [threading.Thread(target=self._send) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _send(self):
        client = self.system.client()
        for _ in range(self.each):
            to = f"user{next(self.numbers)}@dest.test"
            self.system.send(to, client=client)
            self.sent.append(to)
        client.close()

    def busy(self):
        return any(thread.is_alive() for thread in self.threads)


@pytest.mark.parametrize("requests", [["-h", "-H"], ["-h", "-H", "-d"], ["-h", "-H", "-r"]],
                         ids=["hold", "delete", "requeue"])
def test_all_under_load(scratch, root, requests):
    """Whatever is moved while it is on its way: every mail is delivered once, or was deleted."""
    turn, gate = itertools.count(), ["shut"]
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: LATER if verb == "RCPT" and gate and
                         next(turn) % 3 else None)
    system = pp_harness.Pennypost(scratch, minimal_backoff_time="1s", maximal_backoff_time="1s",
                                  queue_run_delay="1s", default_destination_concurrency_failed_cohort_limit="0")
    system.relay_to(sink).start()
    senders, deleted, rounds = Senders(system, 4, 250), 0, 0
    while senders.busy() or rounds < 10:
        rounds += 1
        for option in requests:
            if option == "-d" and rounds % 3:
                continue
            done = system.command("postsuper", option, "ALL")
            assert "warning" not in done.stderr and "fatal" not in done.stderr, done.stderr
            if option == "-d":
                deleted += summary(done, "Deleted")
    gate.clear()

    def drained():
        system.must("postsuper", "-H", "ALL")
        system.must("postqueue", "-f")
        # What has just come has no file yet.
        return system.queue_files() == [] and "is empty" in system.must("postqueue", "-p")
    until(drained, "the queue never gets empty")
    got = collections.Counter(to for mail in sink.mails for to in mail.recipients)
    assert [to for to, count in got.items() if count > 1] == []
    assert len(senders.sent) == 1000 and set(got) <= set(senders.sent)
    missing = len(senders.sent) - len(got)
    # A mail that was taken while its attempt ran may have arrived, and counts as deleted too.
    assert missing <= deleted
    assert missing == 0 or "-d" in requests
    assert system.queue_files("corrupt") == [] and deleted_files(system.queue) == 0
    assert not system.log.find(r"(corrupt|fatal|panic|No such file)")
    warnings = [m[0] for m in system.log.find(r"warning: (?!.*(450|read timeout)).*")]
    assert not warnings


@pytest.fixture
def thousands(scratch, root):
    """(system, spool, ids): a system that is down, with mail that is not to be tried soon."""
    system = pp_harness.Pennypost(scratch)
    spool = pp_spool.Spool(system.queue)
    return system, spool, spool.fill(5000)


@pytest.mark.parametrize("state", ["up", "down"])
def test_many_ids(thousands, state):
    """Five thousand from standard input: the daemon knows it at once, and was not asked for each."""
    system, spool, ids = thousands
    if state == "up":
        system.start()
        until(lambda: f"deferred {len(ids)} " in system.must("status"), "never counted")
    lines = "".join(f"{one}\n" for one in ids)
    done = system.command("postsuper", "-h", "-", input=lines)
    assert summary(done, "Placed on hold") == len(ids)
    assert done.stderr.count(": placed on hold\n") == len(ids)
    assert (spool.count("hold"), spool.count("deferred")) == (len(ids), 0)
    if state == "up":
        until(lambda: "deferred 0 " in system.must("status"), "held mail is still in the index")
        assert system.must("mailq").count("! ") == len(ids)
    done = system.command("postsuper", "-H", "-", "-d", "-", input=lines)
    assert summary(done, "Released from hold") == len(ids) and summary(done, "Deleted") == 0
    done = system.command("postsuper", "-d", "-", input=lines)
    assert summary(done, "Deleted") == len(ids)
    assert spool.count("hold", "deferred", "defer") == 0
    if state == "up":
        until(lambda: "deferred 0 " in system.must("status"), "deleted mail is still in the index")
        assert not system.log.find("gone from|more messages are gone")


def test_a_command_on_all_may_take_its_time(thousands, shim):
    """Walks find less meanwhile: of that the command tells, and the daemon says nothing."""
    system, _, ids = thousands
    system.write_config(queue_run_delay="3s")
    system.start()
    until(lambda: f"deferred {len(ids)} " in system.must("status"), "never counted")
    env = dict(system.env, LD_PRELOAD=shim, FAULT_SPOOL=system.queue, FAULT_CALL="renameat2", FAULT_NTH="8",
               FAULT_ERRNO="hang")
    command = subprocess.Popen(system.argv("postsuper", "-d", "ALL"), env=env, stderr=subprocess.DEVNULL)
    until(lambda: f"deferred {len(ids)} " not in system.must("status"), "no walk came")
    command.kill()
    command.wait()
    left, by_hand = iter(system.queue_files("deferred")), set()

    def told():
        """From some moment on: within two seconds it is noticed that the command has died."""
        system.must("status")
        path = next(left)
        by_hand.add(os.path.basename(path))
        os.unlink(f"{system.queue}/{path}")
        return system.log.find("gone from deferred")
    until(told, "nothing was said of what is removed by hand")
    assert {line.group(1) for line in system.log.find(r"(\w+): gone from")} <= by_hand
    assert not system.log.find("more messages are gone")


@pytest.mark.parametrize("state", ["up", "down"])
def test_delete_all_is_freed_behind(thousands, state):
    system, spool, ids = thousands
    if state == "up":
        system.start()
    done = system.command("postsuper", "-d", "ALL")
    assert summary(done, "Deleted") == len(ids)
    assert spool.count(*pp_spool.QUEUES, "defer", "bounce", "trace") == 0
    until(lambda: spool.count("deleted", "defer") == 0 and not os.listdir(f"{system.queue}/deleted"), "never freed")
    if state == "up":
        until(lambda: "deferred 0 " in system.must("status"), "deleted mail is still in the index")
        # The directories are others than before, and watched all the same.
        again = spool.fill(40)
        until(lambda: "deferred 40 " in system.must("status"), "the new directories are not watched")
        os.remove(next(p for p in (f"{system.queue}/deferred/{x[0]}/{x}" for x in again)))
        until(lambda: "deferred 39 " in system.must("status"), "the new directories are not watched")


def test_small_deletions_leave_nothing(scratch, root):
    """Nobody who deletes a handful finds their files somewhere else afterwards."""
    system = pp_harness.Pennypost(scratch)
    spool = pp_spool.Spool(system.queue)
    spool.fill(60)
    assert summary(system.command("postsuper", "-d", "ALL", "deferred"), "Deleted") == 60
    assert spool.count("deferred", "defer", "deleted") == 0


@pytest.mark.parametrize("who", ["daemon", "postsuper -s"])
def test_a_broken_purge_is_gone_on_with(thousands, who):
    """The kill of whoever purges, at any moment, leaves it to the next."""
    system, spool, _ = thousands
    batch = f"{system.queue}/deleted/5f.1"
    os.mkdir(f"{system.queue}/deleted", 0o700)
    os.chown(f"{system.queue}/deleted", *pwd.getpwnam("postfix")[2:4])
    with pp_spool.as_user("postfix"):
        os.mkdir(batch, 0o700)
        os.rename(f"{system.queue}/deferred/0", f"{batch}/deferred.0")
        os.mkdir(f"{system.queue}/deferred/0", 0o700)
    left = spool.count("deferred")
    assert 0 < left < 5000
    if who == "daemon":
        system.start()
    else:
        assert system.command("postsuper", "-s").stderr == ""
    until(lambda: spool.count("deleted") == 0 and spool.count("defer") == left, "never freed")
    assert spool.count("deferred") == left


def killed_after(system, delay, *args):
    """Runs postsuper and kills it and what it left behind, so long after its start."""
    child, _ = system.scratch.start(system.argv("postsuper", *args), "postsuper", start_new_session=True)
    threading.Event().wait(delay)
    child.kill()
    child.wait()


def test_killed_in_the_middle(thousands):
    """Whenever it was: what is not in the queues is in deleted/, with its log as long as it is."""
    system, spool, ids = thousands
    keep = set(ids[::2])
    system.must("postsuper", "-h", "-", input="".join(f"{one}\n" for one in keep))
    os.mkdir(f"{system.queue}/deleted", 0o700)  # killed before it was given to the owner
    for delay in (0.002, 0.004, 0.006, 0.008, 0.010, 0.012, 0.014, 0.016, 0.020, 0.030):
        killed_after(system, delay, "-d", "ALL", "deferred")
        assert set(os.listdir(f"{system.queue}/hold")) == keep
        assert spool.count("defer") >= len(keep) + spool.count("deferred")
        killed_after(system, delay, "-r", "ALL", "deferred")
        killed_after(system, delay, "-e", "ALL", "deferred")
    for name in ("incoming", "active", "corrupt"):
        assert spool.count(name) == 0
    until(lambda: summary(system.command("postsuper", "-d", "ALL", "deferred", "maildrop"), "Deleted") == 0 and
          spool.count("deleted", "deferred", "maildrop") == 0, "never freed")
    assert {os.path.basename(path) for path in system.queue_files("defer")} == keep
    assert set(os.listdir(f"{system.queue}/hold")) == keep


@pytest.mark.parametrize("name", ["id", "ALL"])
def test_expired_while_delivered(scratch, root, name):
    """The file says so, as Postfix's does: after a crash it is returned all the same."""
    gate = threading.Event()
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: gate.wait(TIMEOUT) and LATER if verb == "RCPT" else None)
    system = pp_harness.Pennypost(scratch).relay_to(sink).start()
    queue_id = system.send("user@dest.test")
    path = os.path.join(system.queue, "active", queue_id)
    until(lambda: any(verb == "RCPT" for _, verb, _ in sink.commands), "never tried")
    done = system.command("postsuper", "-e", queue_id if name == "id" else "ALL")
    assert summary(done, "Force-expired") == 1
    until(lambda: os.path.exists(path) and os.stat(path).st_mode & 0o010, "the file does not say so")
    system.kill()
    gate.set()
    system.start()
    system.log.wait_for(rf"{queue_id}: from=<.*>, status=force-expired, returned to sender")


def test_a_daemon_waits_for_a_command(scratch, root):
    """A command that rearranges the spool shares the lock; another daemon is refused at once."""
    system = pp_harness.Pennypost(scratch).start()
    system.stop()
    with open(f"{system.queue}/pid/master.pid", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        system.spawn()
        assert summary(system.command("postsuper", "-h", "ALL"), "Placed on hold") == 0
        assert system.is_up() and not os.path.exists(f"{system.queue}/public/pennypost")
        fcntl.flock(lock, fcntl.LOCK_UN)
        system.wait_ready()
        system.stop()
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said = system.fails()
        assert code == 1 and "is in use by the mail system" in said


def test_what_a_stranger_delivers_is_not_requeued(thousands):
    """A Postfix, or a daemon of ours that does not answer: deleted and held as Postfix does it, but
    never requeued, for then it would arrive twice."""
    system, spool, _ = thousands
    with pp_spool.as_user("postfix"):
        ids = [spool.put("active", b"x", 1, n) for n in range(3)]
    lock = open(f"{system.queue}/pid/master.pid", "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600))
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = system.command("postsuper", "-r", ids[0], "-r", "ALL", "active")
        assert summary(done, "Requeued") == 0
        assert spool.count("active") == 3
        done = system.command("postsuper", "-h", ids[0], "-d", ids[1], "-e", "ALL", "active")
        assert (summary(done, "Placed on hold"), summary(done, "Deleted")) == (1, 1)
        assert summary(done, "Force-expired") == 1 and spool.count("active") == 1
    done = system.command("postsuper", "-r", ids[2])
    assert summary(done, "Requeued") == 1


def test_for_root_and_the_owner(thousands):
    system, spool, ids = thousands
    # Postfix's own words, and nothing is done.
    for user in ("nobody", "daemon"):
        done = system.command("postsuper", "-h", ids[0], user=user, group="nogroup", extra_groups=[])
        assert done.returncode == 1
        assert done.stderr == "postsuper: fatal: use of this command is reserved for the superuser\n"
    done = system.command("postsuper", "-h", ids[0], "-d", "ALL", "deferred", user="postfix",
                          group="postfix", extra_groups=[])
    assert summary(done, "Placed on hold") == 1 and summary(done, "Deleted") == len(ids) - 1
    for folder, _, names in os.walk(f"{system.queue}/hold"):
        for name in names:
            assert os.stat(f"{folder}/{name}").st_uid != 0
