"""postsuper_killed.py - an end in the middle of holding and releasing whole queues.

For a moment a message has a name in both queues then. Whatever ends the command, every mail is in
one queue afterwards, at the latest when the next command or the daemon has seen to it.
"""

import collections
import fcntl
import os
import pwd
import random
import signal
import threading
import time

import pp_harness
import pp_peers
import pp_spool
import pytest

POINTS = 12  # of each of hold and release


def until(condition, what, timeout=60):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what


def names(system, *queues):
    """How often each id is there."""
    return collections.Counter(os.path.basename(path) for queue in queues
                               for path in system.queue_files(queue))


def at_rest(system):
    """Waits until nobody moves mail: a child goes on for a moment after its parent was killed."""
    fd = os.open(f"{system.queue}/hold", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)


def once(system, ids):
    return names(system, "maildrop", "incoming", "active", "deferred", "hold") == collections.Counter(ids)


def begin(system, *args):
    """Under nohup a hang-up would be ignored, here, too."""
    child, _ = system.scratch.start(["env", "--default-signal=HUP", *system.argv("postsuper", *args)],
                                    "postsuper", start_new_session=True)
    return child


def interrupted(system, delay, how, *args):
    """Runs postsuper and sends it the signal, or the whole group of it, so long after its start."""
    child = begin(system, *args)
    threading.Event().wait(delay)
    try:
        if how == "group":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.send_signal(how)
    except ProcessLookupError:
        pass
    return child.wait()


def duration(system, *args):
    start = time.monotonic()
    assert begin(system, *args).wait() == 0
    return time.monotonic() - start


@pytest.fixture
def thousands(scratch, root):
    system = pp_harness.Pennypost(scratch)
    return system, pp_spool.Spool(system.queue).fill(3000)


@pytest.fixture(params=["down", "up"])
def either(request, thousands):
    """(system, ids, is it up)"""
    system, ids = thousands
    if request.param == "up":
        system.start()
        until(lambda: f"deferred {len(ids)} " in system.must("status"), "never counted")
    return system, ids, request.param == "up"


def agrees(system):
    """What the daemon lists is where it lists it."""
    held = len(names(system, "hold"))
    return (f"deferred {len(names(system, 'deferred'))} " in system.must("status") and
            system.must("mailq").count("! ") == held)


def test_killed(either):
    """The command alone: nothing is left at all, with or without a daemon."""
    system, ids, up = either
    longest = max(duration(system, "-h", "ALL"), duration(system, "-H", "ALL"))
    ends = collections.Counter()
    for point in range(POINTS):
        for option in ("-h", "-H"):
            ends[interrupted(system, longest * (point + random.random()) / POINTS, signal.SIGKILL, option, "ALL")] += 1
            at_rest(system)
            assert once(system, ids), (point, option)
    assert ends[-signal.SIGKILL] > 0
    assert os.listdir(f"{system.queue}/deleted") == []
    if up:
        until(lambda: agrees(system), "the daemon lists what is not there")
        assert not system.log.find("second file|gone from|warning")


def test_killed_with_its_child(either):
    """Nobody is left to finish: the daemon does, or the next command."""
    system, ids, up = either
    longest = max(duration(system, "-h", "ALL"), duration(system, "-H", "ALL"))
    for point in range(POINTS):
        for option in ("-h", "-H"):
            interrupted(system, longest * (point + random.random()) / POINTS, "group", option, "ALL")
            at_rest(system)
            assert set(names(system, "deferred", "hold")) == set(ids), (point, option)
            if not up:
                system.must("postsuper", "-h", "NONE1")
                assert once(system, ids), (point, option)
    if up:
        until(lambda: once(system, ids), "never put in order")
        until(lambda: agrees(system), "the daemon lists what is not there")
        assert not system.log.find("second file|warning")
    assert os.listdir(f"{system.queue}/deleted") == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_between_two(thousands, sign):
    system, ids = thousands
    longest = max(duration(system, "-h", "ALL"), duration(system, "-H", "ALL"))
    ends = set()
    for point in range(6):
        for option in ("-h", "-H"):
            ends.add(interrupted(system, longest * (point + random.random()) / 6, sign, option, "ALL"))
            assert once(system, ids), (point, option)
    assert ends <= {0, -sign} and -sign in ends
    assert os.listdir(f"{system.queue}/deleted") == []


def test_two_at_once(either):
    """Each waits for the other; none of them meets a mail twice."""
    system, ids, _ = either
    for _ in range(4):
        children = [begin(system, option, "ALL") for option in ("-h", "-H", "-h", "-H")]
        assert [child.wait() for child in children] == [0, 0, 0, 0]
        assert once(system, ids)
    done = [begin(system, *args) for args in (("-h", "ALL"), ("-h", ids[0]), ("-h", ids[-1]))]
    assert [child.wait() for child in done] == [0, 0, 0]
    assert names(system, "hold") == collections.Counter(ids)


@pytest.mark.parametrize("who", ["postsuper -s", "postsuper -H ALL", "postsuper -H ID", "daemon"])
def test_who_settles(thousands, who):
    """Three mails with two names each, and a backup of hard links, which is none of that."""
    system, ids = thousands
    pairs, backup = ids[:3], ids[3]
    os.mkdir(f"{system.queue}/../backup")
    os.mkdir(f"{system.queue}/deleted", 0o700)
    os.chown(f"{system.queue}/deleted", *pwd.getpwnam("postfix")[2:4])
    with pp_spool.as_user("postfix"), open(f"{system.queue}/deleted/.moving", "wb"):
        pass
    for name in pairs:
        os.link(f"{system.queue}/deferred/{name[0]}/{name}", f"{system.queue}/hold/{name}")
    os.link(f"{system.queue}/deferred/{backup[0]}/{backup}", f"{system.queue}/../backup/{backup}")
    if who == "daemon":
        system.start()
        until(lambda: once(system, ids), "never settled")
        until(lambda: agrees(system), "the daemon lists what is not there")
        assert len(system.log.find("removed: this message is in hold")) == 3
    elif who == "postsuper -s":
        assert system.command("postsuper", "-s").stderr.count("this message is in hold") == 3
    else:
        system.must(*who.replace("ID", ids[9]).split())
    assert once(system, ids)
    assert names(system, "hold") == collections.Counter([] if "ALL" in who else pairs)
    assert not os.path.exists(f"{system.queue}/deleted/.moving")


def test_a_pair_is_never_sent(scratch, root):
    """Without a mark that would have it looked for: found when it is taken to be sent."""
    sink = pp_peers.Sink(scratch)
    system = pp_harness.Pennypost(scratch)
    system.relay_to(sink)
    ids = pp_spool.Spool(system.queue).fill(20)
    pairs, backups = ids[:3], ids[3:6]
    os.mkdir(f"{system.queue}/../backup")
    for name in pairs + backups:
        folder = "hold" if name in pairs else "../backup"
        os.link(f"{system.queue}/deferred/{name[0]}/{name}", f"{system.queue}/{folder}/{name}")
    system.start()
    fd = os.open(f"{system.queue}/hold", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)  # a command is at work: put back
    system.must("postqueue", "-f")
    until(lambda: len(sink.mails) == 17, "never sent")
    until(lambda: names(system, "deferred", "active") == collections.Counter(pairs), "not put back")
    os.close(fd)
    until(lambda: system.must("postqueue", "-f") == "" and names(system, "deferred", "active", "incoming", "hold") ==
          collections.Counter(pairs), "never settled")
    assert names(system, "hold") == collections.Counter(pairs) and len(sink.mails) == 17
    assert not system.log.find("second file|warning")
