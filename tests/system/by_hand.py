"""by_hand.py - what an administrator does to the files of a running daemon: noticed at once."""

import os
import pwd
import shutil
import socket
import subprocess
import threading
import time

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT

LATER = {"RCPT": "450 4.2.0 try later"}
DAY = 86400


STARTED, GATES = [], []


@pytest.fixture(autouse=True)
def ends_well():
    """Whatever was done to it, it can be stopped, and with a sanitizer has nothing to say."""
    yield
    for gate in GATES:
        gate.opened.set()
    for system in STARTED:
        if system.is_up():
            system.stop()
    STARTED.clear()
    GATES.clear()


class Gate:
    """A sink's answer that lets the end of a message wait until it is opened."""

    def __init__(self):
        self.reached, self.opened = threading.Semaphore(0), threading.Event()
        GATES.append(self)

    def __call__(self, verb, argument):
        if verb == "DOT":
            self.reached.release()
            assert self.opened.wait(TIMEOUT)
        return None

    def wait(self):
        assert self.reached.acquire(timeout=TIMEOUT)


def start(scratch, answer=None, **main):
    sink = pp_peers.Sink(scratch, answer=answer)
    system = pp_harness.Pennypost(scratch, **{"journal": "no", **main}).relay_to(sink).start()
    STARTED.append(system)
    return system, sink


def deferring(scratch, **main):
    """A system with one deferred mail: (system, sink, id). The sink takes mail once answer is None."""
    system, sink = start(scratch, lambda verb, _: LATER.get(verb), **main)
    queue_id = system.send("user@dest.test")
    system.wait_deferred(queue_id)
    return system, sink, queue_id


def only(system, queue):
    files = system.queue_files(queue)
    assert len(files) == 1, files
    return os.path.join(system.queue, files[0])


def order(system, text):
    """One line to the control socket, and the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{system.queue}/public/pennypost")
        client.sendall(text.encode() + b"\n")
        return b"".join(iter(lambda: client.recv(4096), b"")).decode().strip()


def taken_out(scratch, system, queue_id):
    """The deferred file, moved away and forgotten."""
    away = os.path.join(scratch.dir("away"), queue_id)
    os.rename(only(system, "deferred"), away)
    system.events.wait_for(f"^gone {queue_id}$")
    return away


def logs(system):
    return system.queue_files("defer", "bounce", "trace")


def test_moved_out_and_restored(scratch, root):
    system, sink, queue_id = deferring(scratch)
    place = only(system, "deferred")
    away = taken_out(scratch, system, queue_id)
    system.log.wait_for(rf"qmgr\[\d+\]: {queue_id}: gone from deferred$")
    sink.answer = None
    os.utime(away, (1, 1))
    os.rename(away, place)
    system.events.wait_for(f"^adopted {queue_id}$")
    system.wait_removed(queue_id)
    assert len(sink.wait(1)) == 1


def test_a_restored_file_keeps_its_retry_time(scratch, root):
    system, sink, queue_id = deferring(scratch)
    place = only(system, "deferred")
    away = taken_out(scratch, system, queue_id)
    sink.answer = None
    when = int(time.time()) + DAY
    os.utime(away, (when, when))
    shutil.copy2(away, place)  # as root: does not belong to the daemon yet
    system.log.wait_for(rf"warning: deferred/\w/{queue_id}: belongs to root \(mode 0700\) and cannot "
                        rf"be delivered: type: chown postfix {place}$")
    shutil.chown(place, "postfix")
    system.events.wait_for(f"^adopted {queue_id}$")
    assert os.stat(place).st_mtime == when
    os.utime(place)  # touch: now, please
    system.wait_removed(queue_id)
    assert len(sink.mails) == 1


def test_made_to_look_old(scratch, root):
    """Whoever does that wants to find the file by its age: it is not tried, and young, before."""
    system, sink, queue_id = deferring(scratch)
    place = only(system, "deferred")
    other = system.send("other@dest.test")
    system.wait_deferred(other)
    mark = system.log.mark()
    os.utime(place, (1, 1))
    os.utime(place.replace(f"{queue_id[0]}/{queue_id}", f"{other[0]}/{other}"))
    system.wait_deferred(other, count=2)
    assert os.stat(place).st_mtime == 1
    assert not system.log.find(rf"{queue_id}: to=", since=mark)
    sink.answer = None
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)


def test_touch_changes_the_retry_time(scratch, root):
    system, sink, queue_id = deferring(scratch)
    place = only(system, "deferred")
    when = int(time.time()) + 10 * DAY
    os.utime(place, (when, when))
    system.events.wait_for(f"^changed {queue_id}$")
    sink.answer = None
    os.utime(place)
    system.wait_removed(queue_id)


@pytest.mark.parametrize("queue", ["incoming", "active"])
def test_put_where_it_is_tried_at_once(scratch, root, queue):
    system, sink, queue_id = deferring(scratch)
    away = taken_out(scratch, system, queue_id)
    sink.answer = None
    os.rename(away, f"{system.queue}/{queue}/{queue_id}")
    system.wait_removed(queue_id)
    assert len(sink.mails) == 1
    if queue == "active":
        system.log.wait_for(f"{queue_id}: was put into active: tried now")


@pytest.mark.parametrize("queue", ["incoming", "active"])
def test_copied_as_root_and_mended(scratch, root, queue):
    system, sink, queue_id = deferring(scratch)
    away = taken_out(scratch, system, queue_id)
    sink.answer = None
    shutil.chown(away, "root")
    shutil.copy2(away, f"{system.queue}/{queue}/{queue_id}")
    place = system.log.wait_for(rf"warning: incoming/{queue_id}: belongs to root .* type: "
                                r"(chown postfix \S+)$").group(1)
    subprocess.run(place.split(), check=True)
    system.wait_removed(queue_id)
    assert len(sink.mails) == 1


def test_a_mode_that_means_half_written(scratch, root):
    system, sink, queue_id = deferring(scratch)
    away = taken_out(scratch, system, queue_id)
    sink.answer = None
    os.chmod(away, 0o644)
    os.utime(away, (1, 1))
    os.rename(away, f"{system.queue}/deferred/{queue_id[0]}/{queue_id}")
    place = system.log.wait_for(rf"warning: deferred/\w/{queue_id}: mode 0644 is that of a "
                                r"half-written file: if it is whole, type: (chmod 0700 \S+)$").group(1)
    subprocess.run(place.split(), check=True)
    system.wait_removed(queue_id)


def test_maildrop(scratch, root):
    system, sink, queue_id = deferring(scratch)
    away = taken_out(scratch, system, queue_id)
    sink.answer = None
    os.rename(away, f"{system.queue}/maildrop/{queue_id}")
    system.log.wait_for(rf"pickup\[\d+\]: \w+: uid=\d+ from=<sender@client.test> orig_id={queue_id}")
    assert len(sink.wait(1)) == 1


def test_hold(scratch, root):
    """In hold it waits; from there it may come back, or vanish."""
    system, sink, queue_id = deferring(scratch)
    place = only(system, "deferred")
    held = f"{system.queue}/hold/{queue_id}"
    sink.answer = None
    mark = system.log.mark()
    os.rename(place, held)
    system.must("postqueue", "-f")
    assert f"{queue_id}!" in system.must("postqueue", "-p")
    os.utime(held, (1, 1))
    os.rename(held, place)
    system.wait_removed(queue_id)
    assert not system.log.find("gone from", mark)

    stray = f"{system.queue}/hold/0123456789A"
    scratch.file(stray, "text", 0o700)
    shutil.chown(stray, "postfix")
    system.events.wait_for("^held 0123456789A$")
    os.remove(stray)
    system.log.wait_for("0123456789A: gone from hold$")


@pytest.mark.parametrize("where", ["deferred", "deferred/_", "deferred/_/_"])
def test_the_wrong_hash_directory(scratch, root, where):
    system, sink, queue_id = deferring(scratch)
    away = taken_out(scratch, system, queue_id)
    sink.answer = None
    folder = f"{system.queue}/{where}"
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o700)
        os.chmod(f"{system.queue}/deferred/_", 0o700)
        said = system.log.wait_for("warning: deferred/_: a directory that cannot be read: type: (.*)$")
        assert said.group(1) == f"chown -R postfix {system.queue}/deferred/_"
        subprocess.run(said.group(1).split(), check=True)
    when = int(time.time()) + DAY
    os.utime(away, (when, when))
    os.rename(away, f"{folder}/{queue_id}")
    system.events.wait_for(f"^adopted {queue_id}$")
    system.log.wait_for(rf"{queue_id}: moved to where its name belongs")
    assert system.queue_files("deferred") == [f"deferred/{queue_id[0]}/{queue_id}"]
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)


def test_names_that_are_no_id(scratch, root):
    system, _, queue_id = deferring(scratch)
    os.utime(only(system, "deferred"), (DAY * 365 * 80, DAY * 365 * 80))
    system.events.wait_for(f"^changed {queue_id}$")  # its directory is watched by now
    name = f"{system.queue}/deferred/{queue_id[0]}/mail.bak"
    for _ in range(2):
        scratch.file(name, "text")
        os.utime(name)
    system.log.wait_for(r"warning: deferred/\w/mail\.bak: bogus file name: left alone")
    scratch.file(f"{system.queue}/hold/x-y", "text")
    system.log.wait_for(r"warning: hold/x-y: bogus")
    assert len(system.log.find("mail.bak")) == 1
    assert os.path.exists(name)


def test_damaged(scratch, root):
    system, _, queue_id = deferring(scratch)
    away = taken_out(scratch, system, queue_id)
    os.truncate(away, os.stat(away).st_size - 1)
    os.rename(away, f"{system.queue}/deferred/{queue_id[0]}/{queue_id}")
    system.events.wait_for(f"^corrupt {queue_id}$")
    system.log.wait_for(rf"warning: {queue_id}: .* at offset \d+")
    system.log.wait_for(rf'saving corrupt file "{queue_id}" from queue "deferred" to queue "corrupt"')
    assert system.queue_files() == [f"corrupt/{queue_id}"]


@pytest.mark.parametrize("first,second", [("hold", "deferred"), ("deferred", "hold"),
                                          ("deferred", "incoming"), ("hold", "active")])
def test_two_files_of_one_id(scratch, root, first, second):
    """The newcomer is kept, and held: nothing is overwritten, nothing sent twice by surprise."""
    system, sink, queue_id = deferring(scratch)
    place = only(system, "deferred")
    if first == "hold":
        system.must("postsuper", "-h", queue_id)
        system.events.wait_for(f"^held {queue_id}$")
    copy = os.path.join(scratch.dir("copy"), queue_id)
    shutil.copy2(only(system, first), copy)
    shutil.chown(copy, "postfix")
    os.rename(copy, place if second == "deferred" else f"{system.queue}/{second}/{queue_id}")
    new = system.log.wait_for(
        rf"warning: {queue_id}: a second file of this queue id was in {second} while {first} has it: "
        rf"it is on hold as (\w+)$").group(1)
    names = [os.path.basename(f) for f in system.queue_files("hold")]
    assert sorted(names) == sorted([new] + ([queue_id] if first == "hold" else []))
    sink.answer = None
    system.must("postqueue", "-f")
    if first == "deferred":
        system.wait_removed(queue_id)
    assert len(sink.mails) == (first == "deferred")
    system.must("postsuper", "-H", new)
    system.must("postqueue", "-f")
    system.wait_removed(new)


def active(scratch, recipients, **main):
    """A system that is delivering one mail, recipient by recipient: (system, sink, gate, id)."""
    gate = Gate()
    system, sink = start(scratch, gate, smtp_destination_recipient_limit="2",
                         smtp_destination_concurrency_limit="1", **main)
    queue_id = system.send(recipients)
    gate.wait()
    return system, sink, gate, queue_id


FIVE = [f"user{n}@dest.test" for n in range(5)]


def test_a_copy_of_active_mail(scratch, root):
    system, sink, gate, queue_id = active(scratch, FIVE[:1])
    copy = os.path.join(scratch.dir("copy"), queue_id)
    shutil.copy2(f"{system.queue}/active/{queue_id}", copy)
    shutil.chown(copy, "postfix")
    os.utime(copy, (1, 1))
    folder = f"{system.queue}/deferred/{queue_id[0]}"
    os.makedirs(folder, 0o700, exist_ok=True)
    shutil.chown(folder, "postfix")
    os.rename(copy, f"{folder}/{queue_id}")
    new = system.log.wait_for(rf"{queue_id}: a second file .* in deferred while active has it: it is "
                              r"on hold as (\w+)").group(1)
    gate.opened.set()
    system.wait_removed(queue_id)
    assert len(sink.mails) == 1
    assert system.queue_files() == [f"hold/{new}"]


def test_deleted_while_active(scratch, root):
    system, sink, gate, queue_id = active(scratch, FIVE)
    os.remove(f"{system.queue}/active/{queue_id}")
    system.events.wait_for(f"^gone {queue_id}$")
    system.log.wait_for(f"{queue_id}: gone from active$")
    gate.opened.set()
    system.events.wait_for(f"^removed {queue_id}$")
    assert (len(sink.mails), system.queue_files(), logs(system)) == (1, [], [])


def test_held_by_hand_while_active(scratch, root):
    system, sink, gate, queue_id = active(scratch, FIVE)
    os.rename(f"{system.queue}/active/{queue_id}", f"{system.queue}/hold/{queue_id}")
    system.events.wait_for(f"^taken {queue_id}$")
    gate.opened.set()
    system.events.wait_for(f"^deferred {queue_id}$")
    assert system.queue_files() == [f"hold/{queue_id}"]
    system.must("postsuper", "-H", queue_id)
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)
    assert sorted(r for mail in sink.mails for r in mail.recipients) == FIVE


def test_thousands_deleted(scratch, root):
    """find -exec rm, and a flood that the watch cannot keep: one walk, and a bounded log."""
    system, sink, queue_id = deferring(scratch)
    place = only(system, "deferred")
    count = 10000
    uid = pwd.getpwnam("postfix").pw_uid
    when = time.time() + DAY
    folders = [f"{system.queue}/deferred/{c}" for c in "0123456789ABCDEF"]
    for folder in folders:
        os.makedirs(folder, 0o700, exist_ok=True)
        os.chown(folder, uid, -1)
    with open(place, "rb") as file:
        text = file.read()
    for n in range(count):
        name = f"{n % 16:X}{n:08X}A"
        path = os.path.join(scratch.path, name)
        with open(path, "wb") as file:
            file.write(text)
        os.chmod(path, 0o700)
        os.chown(path, uid, -1)
        os.utime(path, (when, when))
        os.rename(path, f"{folders[n % 16]}/{name}")
    wait_count(system, count + 1)
    mark = system.log.mark()
    for folder in folders:
        for name in os.listdir(folder):
            if name != queue_id:
                os.remove(f"{folder}/{name}")
    wait_count(system, 1)
    system.log.wait_for(r"qmgr\[\d+\]: \d+ more messages are gone from the queue", mark)
    assert len(system.log.find("gone from deferred", mark)) <= 100
    sink.answer = None
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)


def wait_count(system, count):
    """The daemon knows of so many deferred mails."""
    deadline = time.monotonic() + TIMEOUT
    while f"deferred {count} " not in order(system, "status"):
        assert time.monotonic() < deadline, order(system, "status")
        system.events.wait_for(".", system.events.mark() - 1)


def test_super_delete(scratch, root):
    system, sink, gate, queue_id = active(scratch, FIVE)
    assert order(system, "super delete 0123456789") == "0"
    assert order(system, f"super delete {queue_id}") == "1"
    assert os.path.exists(f"{system.queue}/active/{queue_id}")  # the attempt runs
    gate.opened.set()
    system.events.wait_for(f"^removed {queue_id}$")
    assert (len(sink.mails), system.queue_files(), logs(system)) == (1, [], [])
    assert not system.log.find(f"{queue_id}: (removed|gone)")


def test_super_hold(scratch, root):
    """The running attempt counts: its recipients are not served again."""
    system, sink, gate, queue_id = active(scratch, FIVE)
    assert order(system, "super hold ALL") == "1"
    gate.opened.set()
    system.events.wait_for(f"^held {queue_id}$")
    assert system.queue_files() == [f"hold/{queue_id}"]
    assert len(sink.mails) == 1
    system.must("postsuper", "-H", queue_id)
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)
    assert sorted(r for mail in sink.mails for r in mail.recipients) == FIVE


def test_super_survives_a_reload(scratch, root):
    system, sink, gate, queue_id = active(scratch, FIVE)
    assert order(system, f"super hold {queue_id}") == "1"
    system.reload()
    gate.opened.set()
    system.events.wait_for(f"^held {queue_id}$")
    assert system.queue_files() == [f"hold/{queue_id}"]


def test_super_requeue(scratch, root):
    system, sink, gate, queue_id = active(scratch, FIVE)
    assert order(system, f"super requeue {queue_id}") == "1"
    gate.opened.set()
    system.events.wait_for(f"^requeued {queue_id}$")
    new = system.log.wait_for(rf"pickup\[\d+\]: (\w+): uid=\d+ from=<.*> orig_id={queue_id}").group(1)
    system.wait_removed(new)
    assert sorted(r for mail in sink.mails for r in mail.recipients) == FIVE
    assert logs(system) == []


def test_super_expire(scratch, root):
    """What was not begun is returned; what was delivered meanwhile is not."""
    system, sink, gate, queue_id = active(scratch, FIVE)
    assert order(system, f"super expire {queue_id}") == "1"
    gate.opened.set()
    system.log.wait_for(rf"{queue_id}: from=<sender@client.test>, status=force-expired, returned to")
    system.wait_removed(queue_id)
    mails = sink.wait(2)
    notice = next(m for m in mails if m.recipients == ["sender@client.test"])
    done = next(m for m in mails if m is not notice).recipients
    for user in FIVE:
        assert (b"Final-Recipient: rfc822; " + user.encode() in notice.data) == (user not in done)


def test_super_takes_effect_at_once_where_nothing_runs(scratch, root):
    system, sink, gate, first = active(scratch, FIVE[:1])
    second = system.send("waits@dest.test")
    system.events.wait_for(f"^active {second}$")
    assert order(system, f"super hold {second}") == "1"
    system.events.wait_for(f"^held {second}$")
    third = system.send("too@dest.test")
    system.events.wait_for(f"^active {third}$")
    assert order(system, f"super delete {third}") == "1"
    system.events.wait_for(f"^removed {third}$")
    assert system.queue_files() == [f"active/{first}", f"hold/{second}"]
    assert order(system, "super fold ALL").startswith("error ")
    gate.opened.set()
    system.wait_removed(first)


def test_what_a_command_does_is_not_said_twice(scratch, root):
    """The command logs what it removed; the daemon does not add that it is gone."""
    system, sink, queue_id = deferring(scratch)
    ids = [queue_id] + [system.send("user@dest.test") for _ in range(30)]
    for one in ids:
        system.wait_deferred(one)
    system.must("postsuper", "-d", ids[0])
    system.must("postsuper", "-h", ids[1])
    system.must("postsuper", "-d", "-", input="".join(f"{one}\n" for one in ids[1:20]))
    system.must("postsuper", "-d", "ALL")
    wait_count(system, 0)
    sink.answer = None
    stray = f"{system.queue}/hold/0123456789A"
    deadline = time.monotonic() + TIMEOUT
    while not system.log.find("0123456789A: gone from hold"):  # a hand is said again, soon after
        assert time.monotonic() < deadline
        scratch.file(stray, "text", 0o700)
        os.remove(stray)
        system.send("user@dest.test")  # some time passes
    assert set(m.group(1) for m in system.log.find(r"(\w+): gone from")) == {"0123456789A"}


@pytest.mark.parametrize("before,after", [
    ({}, {"hash_queue_depth": "2"}), ({"hash_queue_depth": "3"}, {"hash_queue_depth": "1"}),
    ({}, {"hash_queue_names": "hold incoming"}),
    ({"hash_queue_names": ""}, {"hash_queue_names": "deferred, defer, active, hold, incoming"})])
def test_another_hash_depth(scratch, root, before, after):
    """The next start moves everything, says each file, and goes on with it."""
    system, sink, queue_id = deferring(scratch, **before)
    held = system.send("held@dest.test")
    system.wait_deferred(held)
    system.must("postsuper", "-h", held)
    system.stop()
    listing = sorted(system.must("postqueue", "-j").splitlines())
    system.write_config(**dict(before, **after))
    assert sorted(system.must("postqueue", "-j").splitlines()) == listing
    system.start()
    names = system.main.get("hash_queue_names", "deferred, defer")
    depth = int(system.main.get("hash_queue_depth", 1))

    def place(queue, one):
        return "/".join([queue, *(one[:depth] if queue in names else ""), one])

    system.log.wait_for(rf"deferred/.*{queue_id}: moved to where its name belongs: "
                        rf"{place('deferred', queue_id)}$")
    system.log.wait_for(rf"defer/.*{queue_id}: moved to where its name belongs")
    assert sorted(system.must("postqueue", "-j").splitlines()) == listing
    assert system.queue_files() == sorted([place("deferred", queue_id), place("hold", held)])
    away = taken_out(scratch, system, queue_id)  # watched at the new depth
    os.rename(away, os.path.join(system.queue, place("deferred", queue_id)))
    system.events.wait_for(f"^adopted {queue_id}$")
    sink.answer = None
    system.must("postsuper", "-H", held)
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)
    system.wait_removed(held)
    assert logs(system) == []


def test_what_a_start_puts_in_order(scratch, root):
    system, sink, queue_id = deferring(scratch)
    system.stop()
    spool = system.queue

    def put(path, mode=0o700, age=0):
        os.makedirs(os.path.dirname(f"{spool}/{path}"), exist_ok=True)
        scratch.file(f"{spool}/{path}", "text", mode)
        os.utime(f"{spool}/{path}", (time.time() - age, time.time() - age))
        shutil.chown(f"{spool}/{path}", "postfix")

    put("defer/A/ABCDEF0123", 0o600, 60)
    put("bounce/ABCDEF0124", 0o600, 60)
    put("incoming/ABCDEF0125", 0o600, 8 * DAY)
    put("incoming/ABCDEF0126", 0o600, DAY)
    put("deferred/no-id", 0o700)
    os.symlink("/etc/passwd", f"{spool}/hold/ABCDEF0127")
    system.start()
    for line in ("defer/A/ABCDEF0123: removed: a log without a message",
                 "bounce/ABCDEF0124: removed: a log without a message",
                 "incoming/ABCDEF0125: removed: half written and left for a week",
                 "warning: deferred/no-id: bogus file name",
                 "hold/ABCDEF0127: removed: no regular file"):
        system.log.wait_for(line)
    sink.answer = None
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)
    assert system.queue_files() == ["deferred/no-id", "incoming/ABCDEF0126"]
