"""handover.py - sendmail gives its mail to the running daemon; maildrop is for when that cannot be.

What is said on public/submit stands in src/pickup/handover.c. A stranger may say anything there.
"""

import os
import re
import select
import signal
import socket
import subprocess

import pp_harness
import pytest
from pp_scratch import TIMEOUT

ENVELOPE = b"T\x0c1700000000 1S\x08s@x.testR\x0fu@dest.one.test"
MAIL = ENVELOPE + b"M\x00N\x0aSubject: xN\x00N\x02hiX\x00"


@pytest.fixture
def relayed(scratch, sink):
    return pp_harness.Pennypost(scratch, authorized_submit_users="!nobody, static:all").relay_to(sink).start()


def nobody(**options):
    return dict(user="nobody", group="nogroup", extra_groups=[], **options)


class Door:
    """A client of the socket, by hand."""

    def __init__(self, system, greeting=b"ready "):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(f"{system.queue}/public/submit")
        self.file = self.socket.makefile("rb")
        self.id = None
        if greeting:
            line = self.file.readline()
            assert line.startswith(greeting), line
            self.id = line.split()[1].decode()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def line(self):
        return self.file.readline().decode()

    def close(self):
        self.file.close()
        self.socket.close()


def sendmail(system, *options, text=b"Subject: x\n\nhello\n", **more):
    return subprocess.run(system.argv("sendmail", "-f", "me@client.test", *options), input=text,
                          capture_output=True, check=False, timeout=TIMEOUT, **more)


def maildrop(system):
    return system.queue_files("maildrop")


def test_no_file_is_made(relayed, sink):
    """With a maildrop that nobody may write to, so it cannot be that way; also a large mail."""
    os.rename(f"{relayed.queue}/maildrop", f"{relayed.queue}/elsewhere")
    try:
        for number, lines in enumerate((1, 40000)):
            done = sendmail(relayed, "you@dest.test", text=b"Subject: s\n\n" + b"x" * 60 + b"\n" +
                            b"some more of it\n" * lines)
            assert (done.returncode, done.stderr) == (0, b"")
            mail = sink.wait(number + 1)[number]
            assert mail.header("Subject") == "s" and mail.data.count(b"some more of it") == lines
        done = sendmail(relayed, "-t", text=b"To: a@dest.test\nBcc: b@dest.test\nSubject: t\n\nx\n")
        assert done.returncode == 0
        relayed.wait_status("a@dest.test", "sent")
        relayed.wait_status("b@dest.test", "sent")
        done = sendmail(relayed, "-bs", text=b"EHLO a\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@dest.test>\r\n"
                        b"DATA\r\n\r\nx\r\n.\r\nQUIT\r\n")
        queue_id = re.search(rb"queued as (\w+)", done.stdout).group(1).decode()
        relayed.wait_removed(queue_id)
    finally:
        os.rename(f"{relayed.queue}/elsewhere", f"{relayed.queue}/maildrop")
    relayed.log.wait_for(r"pickup\[\d+\]: \w+: uid=0 from=<me@client\.test>")


def test_records_by_hand(relayed, sink):
    door = Door(relayed).send(MAIL + b"E\x00")
    assert door.line() == f"ok {door.id}\n"
    relayed.wait_removed(door.id)
    relayed.log.wait_for(rf"pickup\[\d+\]: {door.id}: uid=0 from=<s@x\.test>")
    # A byte at a time, and nothing is committed without E.
    door = Door(relayed)
    for at in range(len(MAIL)):
        door.send(MAIL[at:at + 1])
    door.close()
    assert relayed.queue_files() == [] and len(sink.mails) == 1


GARBAGE = [
    (b"\x00" * 2000, "unexpected record type at offset 0"),
    (b"GET / HTTP/1.0\r\n\r\n" * 9, "unexpected record type"),
    (b"M\x00N\x01xX\x00E\x00", "sender record missing"),
    (b"S\x01sR\x01\x07", "bad recipient record"),
    (ENVELOPE + b"M\x00E\x00", "unexpected record type"),
    (ENVELOPE + b"M\x00N\xff\xff\x7f", "record is too long"),
    (ENVELOPE + b"M\x00N" + b"\xff" * 10, "too many length bits"),
    (b"S\x01sM\x00N\x01xX\x00E\x00", "5.5.1 Error: no valid recipients"),
    (ENVELOPE + b"A\x17client_address=10.0.0.1\x00\x00", "unexpected record type"),
]


def test_garbage(relayed):
    for data, why in GARBAGE:
        door = Door(relayed).send(data)
        assert re.match(f"no .*{why}", door.line()), data
        assert door.line() == ""
        door.close()
    assert relayed.queue_files("incoming", "active", "maildrop") == []
    assert relayed.is_up()


def test_not_allowed(relayed):
    script = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
              "print(s.makefile().readline(), end='')")
    done = subprocess.run(["/usr/bin/python3", "-c", script, f"{relayed.queue}/public/submit"],
                          capture_output=True, check=False, **nobody())
    assert re.match(rb"no User nobody\(\d+\) is not allowed to submit mail\n", done.stdout), done


def test_too_many_clients(relayed, sink):
    """They keep out each other, and those who submit only from the socket."""
    doors = [Door(relayed) for _ in range(128)]
    extra = [Door(relayed, None) for _ in range(200)]
    assert {door.line() for door in extra} == {"no too many submissions at once\n"}
    relayed.log.wait_for("pickup.*too many submissions at once: more have to use maildrop")
    done = sendmail(relayed, "you@dest.test")
    assert (done.returncode, done.stderr) == (0, b"")
    relayed.wait_status("you@dest.test", "sent")
    relayed.must("postqueue", "-p")
    for door in doors + extra:
        door.close()
    door = None
    while door is None:  # until it knows that they are gone
        door = Door(relayed, None)
        if not door.line().startswith("ready"):
            door = None
    assert door.send(MAIL + b"E\x00").line().startswith("ok ")


def test_the_daemon_does_not_answer(relayed, sink, scratch):
    """Down, hung, or hanging up in the middle: the mail is in maildrop, once."""
    path = f"{relayed.queue}/public/submit"
    os.unlink(path)
    for answer in (b"", b"no room here\n", b"ready ABCDEF123\n", b"ready ../../x\n", b"x" * 4000):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen()
        child = subprocess.Popen(relayed.argv("sendmail", f"u{len(answer)}@dest.test"),
                                 stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdin.write(b"\nx\n")
        child.stdin.close()
        client, _ = listening.accept()
        got = b""
        while not got.endswith(b"X\x00"):
            got += client.recv(4096)
        client.sendall(answer)
        if answer.startswith(b"ready A"):
            assert client.recv(10) == b"E\x00"
        client.close()
        assert child.wait(TIMEOUT) == 0 and child.stderr.read() == b""
        child.stderr.close()
        listening.close()
        os.unlink(path)
        relayed.wait_status(f"u{len(answer)}@dest.test", "sent")
    assert sink.wait(5) and maildrop(relayed) == []


def test_killed_in_the_middle(relayed):
    """sendmail dies before E: no mail. The daemon stops: who is not through goes to maildrop."""
    reading, writing = os.pipe()
    child = subprocess.Popen(relayed.argv("sendmail", "you@dest.test"), stdin=reading)
    os.write(writing, b"\nhello\n")
    child.send_signal(signal.SIGTERM)
    assert child.wait(TIMEOUT) in (75, -signal.SIGTERM)
    os.close(reading)
    os.close(writing)
    door = Door(relayed).send(MAIL)
    relayed.process.send_signal(signal.SIGTERM)
    assert door.line() == "no stopping\n"
    assert relayed.wait_exit() == 0
    assert relayed.queue_files() == []
    assert not os.path.exists(f"{relayed.queue}/public/submit")


def test_silence_ends(relayed):
    """Who says nothing is hung up, and a byte now and then does not help."""
    silent, dripping = Door(relayed), Door(relayed)
    open_ends = {silent.socket, dripping.socket}
    while open_ends:
        for ended in select.select(list(open_ends), [], [], 0.5)[0]:
            assert ended.recv(10) == b""
            open_ends.remove(ended)
        dripping.send(b"F\x01x")
    silent.close()
    dripping.close()
