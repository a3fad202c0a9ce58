"""spool_trouble.py - full and read-only file systems, foreign and damaged spools: nothing is lost."""

import json
import os
import re
import subprocess
import time

import pp_harness
import pp_peers
import pp_spool
import pytest
from pp_scratch import fill, must, run, small_disk


@pytest.fixture
def small(scratch, root):
    return small_disk(scratch, "3m")


def test_full_disk(scratch, sink, small):
    """452 4.3.1 while it is full; what was taken before stays, and is delivered."""
    system = pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool", journal="no",
                                  message_size_limit="100000")
    gate = {"CONNECT": "421 4.3.2 wait"}
    sink.answer = lambda verb, _: gate.get(verb)
    system.relay_to(sink).start()
    kept = [system.send(f"user{i}@dest.test") for i in range(5)]
    for queue_id in kept:
        system.wait_deferred(queue_id)
    ballast = fill(small)
    client = system.client()
    client.ehlo()
    replies = [client.mail("a@client.test")]
    if replies[-1][0] == 250:
        replies.append(client.rcpt("b@dest.test"))
    if replies[-1][0] == 250:
        replies.append(client.data("x" * 1000 + "\r\n"))
    code, text = replies[-1]
    assert code == 452 and text.startswith(b"4.3.1"), replies
    assert not sink.mails
    os.remove(ballast)
    gate.clear()
    late = system.send("late@dest.test")
    system.must("postqueue", "-f")
    for queue_id in kept + [late]:
        system.wait_removed(queue_id)
    assert len(sink.mails) == 6
    assert system.queue_files() == []


def test_disk_fills_during_a_mail(scratch, sink, small):
    """The size was not announced; the space ends in the middle of DATA."""
    system = pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool", message_size_limit="0",
                                  queue_minfree="0").relay_to(sink).start()
    client = system.client()
    client.ehlo()
    assert client.mail("a@client.test")[0] == 250
    assert client.rcpt("b@dest.test")[0] == 250
    code, text = client.data(("y" * 998 + "\r\n") * 5000)
    assert code == 452 and text.startswith(b"4.3.1"), (code, text)
    assert system.queue_files() == []
    system.wait_removed(system.send("user@dest.test"))


def test_disk_fills_before_the_results(scratch, small):
    """Neither log can take what was said. However old the mail: nobody may be left out of a report."""
    ballast, full = [], ["yes"]

    def answer(verb, text):
        if verb == "RCPT" and full and not ballast:
            ballast.append(fill(small))
        if verb == "RCPT":
            return next((reply for word, reply in (("temp", "450 4.2.0 later"), ("perm", "550 5.1.1 never"))
                         if word in text), None)
        return None

    sink = pp_peers.Sink(scratch, answer=answer)
    system = pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool", message_size_limit="100000",
                                  journal="no", maximal_queue_lifetime="0").relay_to(sink).start()
    queue_id = system.send(["temp@dest.test", "perm@dest.test", "ok@dest.test"])
    system.log.wait_for(rf"{queue_id}: writing its results: No space left on device")
    system.events.wait_for(rf"^(deferred|removed) {queue_id}$|^left {queue_id}")
    assert [os.path.basename(f) for f in system.queue_files()] == [queue_id]
    full.clear()
    os.remove(ballast[0])
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)
    mails = sink.wait(3)
    told = b"".join(m.data for m in mails if m.sender == "")
    assert b"temp@dest.test" in told and b"perm@dest.test" in told
    assert [m.recipients for m in mails if m.sender] == [["ok@dest.test"]]


@pytest.mark.parametrize("is_there", [True, False])
def test_no_way_into_deferred(scratch, root, is_there):
    """Closed, or removed where its owner cannot make it anew: its receiver is not asked again at
    once, and again, and again."""
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: {"RCPT": "450 4.2.0 later"}.get(verb))
    system = pp_harness.Pennypost(scratch, mail_owner="postfix", queue_run_delay="1s")
    system.relay_to(sink).start()
    deferred = f"{system.queue}/deferred"
    must(["chown", "root", system.queue])
    os.chmod(system.queue, 0o755)
    must(["rm", "-rf", deferred])
    if is_there:
        os.mkdir(deferred, 0o700)
    queue_id = system.send("user@dest.test")
    system.log.wait_for(rf"{queue_id}: leaving the active queue: .*: trying again every 1 s")
    for _ in range(3):
        mark = system.log.mark()
        system.log.wait_for("scan of the queue directories: ", since=mark)
    assert system.queue_files("incoming", "active", "deferred") == [f"active/{queue_id}"]
    assert len(re.findall(f"{queue_id}: to=<", "\n".join(system.log.lines))) == 1
    assert "deferred" not in system.must("postqueue", "-j")
    if not is_there:
        os.mkdir(deferred, 0o700)
    must(["chown", "postfix", deferred])
    system.wait_deferred(queue_id)
    assert len(re.findall(f"{queue_id}: to=<", "\n".join(system.log.lines))) == 1
    system.must("postsuper", "-d", queue_id)
    assert system.queue_files() == []


def test_no_room_for_a_notice(scratch, small):
    """Of mail that was told to expire; a flush before that is no reason to try it without a pause."""
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: {"RCPT": "450 4.2.0 later"}.get(verb))
    system = pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool", journal="no",
                                  message_size_limit="100000").relay_to(sink).start()
    queue_id = system.send("user@dest.test")
    system.wait_deferred(queue_id)
    ballast = fill(small)
    system.must("postqueue", "-f")
    system.wait_deferred(queue_id, count=2)
    system.must("postsuper", "-e", queue_id)
    system.must("postqueue", "-i", queue_id)
    system.log.wait_for(rf"{queue_id}: its notice could not be queued: ")
    system.wait_deferred(queue_id, count=3)
    row = json.loads(system.must("postqueue", "-j"))
    assert row["queue_name"] == "deferred"
    assert row["recipients"][0]["next_attempt"] > time.time() + 100
    os.remove(ballast)
    system.must("postqueue", "-i", queue_id)
    system.wait_removed(queue_id)


def test_commands_on_a_read_only_file_system(scratch, small):
    """Reading goes on; what cannot be done is told, and by the exit status, too."""
    system = pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool", mail_owner="postfix")
    spool = pp_spool.Spool(system.queue)
    deferred = spool.fill(3)
    held = spool.fill(2, first=3, queue="hold")
    before = system.queue_files()
    must(["mount", "-o", "remount,ro", small])
    for command in (["postqueue", "-p"], ["postqueue", "-j"], ["postcat", "-q", held[0]],
                    ["qshape", "deferred"]):
        assert system.command(*command).returncode == 0, command
    for option, queue_id in (("-d", deferred[0]), ("-h", deferred[0]), ("-H", held[0]),
                             ("-r", held[1]), ("-d", "ALL"), ("-h", "ALL"), ("-H", "ALL")):
        done = system.command("postsuper", option, queue_id)
        assert done.returncode == 1, (option, queue_id, done.stderr)
        assert "Read-only file system" in done.stderr and ": 0 messages" in done.stderr
    assert system.queue_files() == before
    must(["mount", "-o", "remount,rw", small])


@pytest.mark.parametrize("end", ["room", "stop", "kill"])
def test_disk_fills_before_a_young_mail_is_a_file(scratch, small, end):
    """It stays in the journal, with what is known of it, until it can be one."""
    gate, ballast = {"temp": "450 4.2.0 later"}, []

    def answer(verb, text):
        if verb == "RCPT" and not ballast:
            ballast.append(fill(small))
        return next((reply for word, reply in gate.items() if word in text), None) if verb == "RCPT" else None

    sink = pp_peers.Sink(scratch, answer=answer)
    system = pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool",
                                  message_size_limit="100000").relay_to(sink).start()
    queue_id = system.send(["temp@dest.test", "ok@dest.test"])
    system.log.wait_for(rf"{queue_id}: its queue file cannot be made: No space left on device")
    assert system.queue_files() == []
    if end == "kill":
        system.kill()
    os.remove(ballast[0])
    if end == "stop":
        system.stop()
        assert system.queue_files() == [f"incoming/{queue_id}"]
    gate.clear()
    if end == "room":
        system.log.wait_for(rf"{queue_id}: to=<temp@dest.test>, .*status=deferred")
        system.wait_deferred(queue_id)
    else:
        system.start()
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)
    mails = sink.wait(2)
    assert sorted(to for m in mails for to in m.recipients)[-1] == "temp@dest.test"
    assert len(mails) == (2 if end != "kill" else len(mails))


def test_queue_minfree(scratch, sink, small):
    system = pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool", message_size_limit="100000",
                                  queue_minfree="50000000").relay_to(sink).start()
    client = system.client()
    client.ehlo()
    code, text = client.mail("a@client.test")
    assert code == 452 and text == b"4.3.1 Insufficient system storage"


def test_sendmail_on_a_full_disk(scratch, sink, small):
    system = pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool").relay_to(sink).start()
    fill(small)
    done = system.command("sendmail", "-f", "me@client.test", "you@dest.test",
                          input="Subject: x\n\n" + "hello\n" * 5000)
    assert done.returncode == 75
    assert "No space left on device" in done.stderr
    assert system.queue_files("maildrop") == []


def test_read_only_file_system(scratch, sink, small):
    system = pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool").relay_to(sink).start()
    system.stop()
    must(["mount", "-o", "remount,ro", small])
    code, said = system.fails()
    assert 0 < code < 99
    assert "fatal" in said and "Read-only file system" in said and system.queue in said


def test_becomes_read_only_while_it_runs(scratch, sink, small):
    system = pp_harness.Pennypost(scratch, queue_directory=f"{small}/spool").relay_to(sink).start()
    if run(["mount", "-o", "remount,ro", small]).returncode != 0:
        pytest.skip("cannot remount while the lock file is open for writing")
    client = system.client()
    client.ehlo()
    code, _ = client.mail("a@client.test")
    if code == 250:
        client.rcpt("b@dest.test")
        code, _ = client.data("hello\r\n")
    assert 400 <= code < 500
    must(["mount", "-o", "remount,rw", small])
    system.wait_removed(system.send("user@dest.test"))


def test_spool_of_somebody_else(scratch, sink, root):
    queue = scratch.dir("theirs")
    for name in ("incoming", "active", "deferred", "maildrop"):
        os.makedirs(f"{queue}/{name}")
        must(["chown", "nobody", f"{queue}/{name}"])
    must(["chown", "nobody", queue])
    code, said = pp_harness.Pennypost(scratch, queue_directory=queue).relay_to(sink).fails()
    assert 0 < code < 99
    assert "fatal" in said and queue in said and re.search("owne|belong", said)


def test_spool_directory_cannot_be_made(scratch, sink):
    path = scratch.file("file", "no directory\n")
    code, said = pp_harness.Pennypost(scratch, queue_directory=f"{path}/spool").fails()
    assert 0 < code < 99
    assert "fatal" in said and path in said


def test_damaged_queue_file_goes_to_corrupt(scratch, root):
    gate = {"RCPT": "450 4.2.0 later"}
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: gate.get(verb))
    system = pp_harness.Pennypost(scratch).relay_to(sink).start()
    bad = system.send("bad@dest.test")
    system.wait_deferred(bad)
    good = system.send("good@dest.test")
    system.wait_deferred(good)
    system.stop()
    (path,) = [f for f in system.queue_files("deferred") if f.endswith(bad)]
    with open(os.path.join(system.queue, path), "r+b") as file:
        file.seek(120)
        file.write(os.urandom(64))
    gate.clear()
    system.start()
    system.must("postqueue", "-f")
    system.wait_removed(good)
    system.log.wait_for(rf"{bad}: .*corrupt|corrupt.*{bad}")
    assert [os.path.basename(f) for f in system.queue_files()] == [bad]
    assert system.queue_files("corrupt")


def test_garbage_in_the_queue_directories(scratch, sink, root):
    """Directories, sockets, odd names, empty and unfinished files: none stops the others."""
    system = pp_harness.Pennypost(scratch).relay_to(sink).start()
    system.stop()
    def put(name, data=b"", mode=0o700):
        path = os.path.join(system.queue, name)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)
        must(["chown", "postfix", path])
    put("incoming/not-an-id")
    put("incoming/ABCDEF0123")
    put("incoming/0123456789", b"half", 0o600)
    put("deferred/0FFFFFFFFF", b"\xff" * 300)
    put("maildrop/BADBADBAD0", b"M\x05hello" * 10, 0o744)
    os.makedirs(f"{system.queue}/incoming/ZZZZZZZZZZ")
    os.symlink("/etc/passwd", f"{system.queue}/incoming/5ACE5ACE5A")
    os.mkfifo(f"{system.queue}/incoming/F1F0F1F0F1")
    system.start()
    system.must("postqueue", "-f")
    system.wait_removed(system.send("user@dest.test"))
    assert len(sink.mails) == 1
    assert not os.path.islink(f"{system.queue}/incoming/5ACE5ACE5A") or sink.mails
    listing = system.command("mailq")
    assert listing.returncode == 0


def test_commands_without_a_spool(scratch):
    system = pp_harness.Pennypost(scratch, queue_directory=f"{scratch.path}/nowhere")
    for command, options in (("mailq", ()), ("postqueue", ("-j",)), ("postcat", ("-q", "0123456789"))):
        done = system.command(command, *options)
        assert done.returncode not in (0, 99), command
        assert f"{scratch.path}/nowhere" in done.stderr, done.stderr
    done = subprocess.run(system.argv("sendmail", "a@b.test"), input=b"\nx\n", capture_output=True,
                          check=False)
    assert done.returncode == 75
