"""written.py - what we write, read by Postfix's tools: every message of the corpus once more, through
our SMTP server and our sendmail, prints the same with either's postcat, postqueue and qshape."""

import json
import os
import re
import shutil
import socket
import subprocess
import zlib

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT, TOP

CASES = os.path.join(TOP, "tests", "corpus", "cases")
LATER = b"later@defer.test"
NOTIFY = {1: "NEVER", 2: "SUCCESS", 4: "FAILURE", 8: "DELAY"}
OURS = {"next_attempt", "attempts", "relay", "dsn"}


def records(data):
    """(type, payload) in reading order, pointers followed."""
    at, last = 0, None
    while last != "E" and at < len(data):
        last = chr(data[at])
        at, length, shift = at + 1, 0, 0
        while True:
            length |= (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 128:
                break
        payload = data[at:at + length]
        at += length
        if last == "p" and int(payload):
            at = int(payload)
        yield last, payload


class Message:
    """Envelope and content of a queue file."""

    def __init__(self, name):
        self.name, self.sender, self.rcpts, self.lines = name, b"", [], []
        self.attrs, line, inside = {}, b"", False
        one = {}
        with open(os.path.join(CASES, name, "qfile"), "rb") as file:
            data = file.read()
        for kind, payload in records(data):
            if kind == "M" or kind == "X":
                inside = kind == "M"
            elif inside and kind in "LN":
                line += payload
                if kind == "N":
                    self.lines.append(line)
                    line = b""
            elif kind == "S":
                self.sender = payload
            elif kind == "A":
                key, _, value = payload.partition(b"=")
                (one if key in (b"notify_flags", b"dsn_orig_rcpt") else self.attrs)[key] = value
            elif kind in "RD":
                if b"@[" not in payload:  # local to the Postfix of the test, which delivers nothing
                    self.rcpts.append((payload, one))
                one = {}
        self.rcpts.append((LATER, {}))

    def smtp_lines(self):
        mail = b"MAIL FROM:<" + quoted(self.sender) + b">"
        if any(byte > 127 for text in [self.sender] + [r for r, _ in self.rcpts] for byte in text):
            mail += b" SMTPUTF8"
        if b"encoding" in self.attrs:
            mail += b" BODY=" + self.attrs[b"encoding"].upper().replace(b"8BIT", b"8BITMIME")
        if b"ret_flags" in self.attrs:
            mail += b" RET=FULL" if self.attrs[b"ret_flags"] == b"1" else b" RET=HDRS"
        if b"envelope_id" in self.attrs:
            mail += b" ENVID=" + xtext(self.attrs[b"envelope_id"])
        yield mail
        for address, dsn in self.rcpts:
            rcpt = b"RCPT TO:<" + quoted(address) + b">"
            flags = int(dsn.get(b"notify_flags", 0))
            if flags:
                rcpt += b" NOTIFY=" + ",".join(n for f, n in NOTIFY.items() if f & flags).encode()
            if dsn.get(b"dsn_orig_rcpt", b"").startswith(b"rfc822;"):
                rcpt += b" ORCPT=rfc822;" + xtext(dsn[b"dsn_orig_rcpt"][7:])
            yield rcpt

    def sendmail(self):
        argv = ["-i", "-f", quoted(self.sender).decode()]
        if b"ret_flags" in self.attrs:
            argv += ["-R", "full" if self.attrs[b"ret_flags"] == b"1" else "hdrs"]
        if b"envelope_id" in self.attrs:
            argv += ["-V", self.attrs[b"envelope_id"].decode()]
        if b"encoding" in self.attrs:
            argv += ["-B", self.attrs[b"encoding"].decode().upper().replace("8BIT", "8BITMIME")]
        return argv + ["--"] + [quoted(r).decode("utf-8", "surrogateescape") for r, _ in self.rcpts]


def quoted(address):
    local, at, domain = address.rpartition(b"@")
    if not at or re.fullmatch(rb"[^\s\"()<>@,;:\\]+", local):
        return address
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", local) + b'"@' + domain


def xtext(text):
    return b"".join(b"+%02X" % c if c in b"+=" or not 33 <= c <= 126 else bytes([c]) for c in text)


class Client:
    """SMTP without a library that would mend what is sent."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")
        self.reply()

    def reply(self):
        while True:
            line = self.file.readline()
            if line[3:4] != b"-":
                return line

    def say(self, line):
        self.socket.sendall(line + b"\r\n")
        return self.reply()

    def send(self, message):
        mail, *rcpts = message.smtp_lines()
        answer = self.say(mail)
        assert answer.startswith(b"250"), (message.name, mail, answer)
        for rcpt in rcpts:
            self.say(rcpt)
        assert self.say(b"DATA").startswith(b"354")
        text = b"".join((b"." + l if l.startswith(b".") else l) + b"\r\n" for l in message.lines)
        answer = self.say(text + b".")
        match = re.search(rb"queued as (\w+)", answer)
        assert match, (message.name, answer)
        return match.group(1).decode()


def answer(verb, argument):
    if verb == "RCPT" and (LATER.decode() in argument or zlib.crc32(argument.encode()) % 2):
        return "450 4.2.0 <x>: try later, please"
    return None


def messages():
    return [Message(name) for name in sorted(os.listdir(CASES))]


def filled(scratch, **main):
    """A stopped system, with all messages in deferred, each with recipients done and to be done."""
    sink = pp_peers.Sink(scratch, answer=answer)
    sink.extensions += ["SMTPUTF8"]
    system = pp_harness.Pennypost(scratch, bounce_queue_lifetime="10d", smtpd_client_connection_limit="0",
                                  smtputf8_enable="yes", smtpd_recipient_limit="2000", **main)
    system.relay_to(sink).start()
    all_messages = messages()
    client = Client(system.port)
    client.say(b"EHLO client.test")
    ids = [client.send(message) for message in all_messages]
    for message in all_messages:
        if len(message.rcpts) > 60:
            continue
        done = subprocess.run(system.argv("sendmail", *message.sendmail()), env=system.env, check=False,
                              input=b"".join(l + b"\n" for l in message.lines), capture_output=True)
        assert done.returncode == 0, (message.name, done.stderr)
        ids.append(None)
    system.events.wait_for("^deferred ", count=len(ids), timeout=2 * TIMEOUT)
    system.stop()
    found = [os.path.basename(f) for f in system.queue_files("deferred")]
    assert len(found) == len(ids), system.queue_files()
    assert system.queue_files("maildrop", "incoming", "active", "corrupt") == []
    return system, found


def paragraphs(listing):
    return sorted(listing.split("\n\n"))


def plain(listing):
    """postqueue -j without our additions."""
    found = []
    for line in listing.splitlines():
        message = json.loads(line)
        for item in [message] + message["recipients"]:
            for key in OURS & set(item):
                del item[key]
        found.append(json.dumps(message))
    return sorted(found)


@pytest.mark.parametrize("long_ids, names, depth", [
    ("no", "deferred, defer", "1"), ("yes", "deferred, defer, hold", "2"),
    ("no", "incoming, active, deferred, defer, bounce", "3"), ("yes", "hold", "1"),
])
def test_tools_agree(scratch, root, long_ids, names, depth):
    if not shutil.which("postcat", path="/usr/sbin"):
        pytest.skip("no Postfix here")
    settings = {"enable_long_queue_ids": long_ids, "hash_queue_names": names,
                "hash_queue_depth": depth}
    system, ids = filled(scratch, **settings)
    config = pp_harness.postfix_tools_config(scratch, system.queue, **settings)

    def both(command, *arguments):
        theirs = pp_harness.postfix_tool(config, command, *arguments)
        ours = system.command(command, *arguments)
        assert ours.returncode == theirs.returncode == 0, (command, theirs.stderr, ours.stderr)
        return ours.stdout, theirs.stdout

    for options in ([], ["-oe"], ["-bd"], ["-hv"]):
        ours, theirs = both("postcat", *options, "-q", *ids)
        assert ours == theirs
        assert options or ours.count("*** MESSAGE FILE END ") == len(ids)
        assert options or ours.count("done_recipient: ") > len(ids)
    ours, theirs = both("postqueue", "-p")
    assert paragraphs(ours) == paragraphs(theirs)
    ours, theirs = both("postqueue", "-j")
    assert plain(ours) == plain(theirs)
    for options in (["deferred"], ["-s", "deferred"], ["-p", "-m", "2", "deferred"],
                    ["-b", "5", "-t", "30", "deferred"]):
        ours, theirs = both("qshape", *options)
        assert sorted(ours.splitlines()) == sorted(theirs.splitlines())


def test_postfix_accepts_all(scratch, root):
    """Its queue manager takes every file, warns of none, and delivers what was left."""
    system, ids = filled(scratch)
    sink = pp_peers.Sink(scratch)
    sink.extensions += ["SMTPUTF8"]
    postfix = pp_harness.Postfix(scratch, queue_directory=system.queue).relay_to(sink).start()
    postfix.must("postqueue", "-f")
    postfix.log.wait_for(r"qmgr\[\d+\]: \w+: removed", count=len(ids), timeout=2 * TIMEOUT)
    assert not postfix.log.find(r"(qmgr|smtp)\[\d+\]: (warning|error|fatal)")
    got = [m for m in sink.mails if LATER.decode() in m.recipients]
    assert len(got) == len(ids)


@pytest.fixture(name="postdrop")
def fixture_postdrop(scratch, root):
    """Pennypost with Postfix's own sendmail and postdrop in its queue directory."""
    if not shutil.which("postdrop", path="/usr/sbin"):
        pytest.skip("no Postfix here")
    sink = pp_peers.Sink(scratch)
    sink.extensions += ["SMTPUTF8"]
    system = pp_harness.Pennypost(scratch).relay_to(sink)
    config = pp_harness.postfix_tools_config(scratch, system.queue, command_directory="/usr/sbin")
    return system, sink, config


@pytest.mark.parametrize("is_up", [True, False])
def test_postfix_submits(postdrop, is_up):
    """Every body as it was given, also what lay there at the start."""
    system, sink, config = postdrop
    system.start()
    if not is_up:
        system.stop()
    sent = []
    for message in messages():
        if len(message.rcpts) > 60 or any(len(line) > 900 or b"\0" in line or b"\r" in line
                                          for line in message.lines):
            continue
        message.rcpts = message.rcpts[:-1] or [(b"somebody@dest.test", {})]
        done = subprocess.run(["sendmail", "-C", config, *message.sendmail()], check=False,
                              executable="/usr/sbin/sendmail", capture_output=True,
                              input=b"".join(l + b"\n" for l in message.lines))
        assert done.returncode == 0, (message.name, done.stderr)
        assert not is_up or done.stderr == b"", (message.name, done.stderr)
        sent.append(message)
    assert len(sent) > 60
    if not is_up:
        assert len(system.queue_files("maildrop")) == len(sent)
        system.start()
    system.log.wait_for(r"qmgr\[\d+\]: \w+: removed", count=len(sent), timeout=TIMEOUT)
    assert system.queue_files() == []
    assert not system.log.find("warning: ")
    got = {}
    for mail in sink.mails:
        envelope = (mail.sender, mail.data.replace(b"\r\n", b"\n").split(b"\n\n", 1)[-1])
        got.setdefault(envelope, set()).update(mail.recipients)
    for message in sent:
        text = b"".join(line + b"\n" for line in message.lines)
        body = text.split(b"\n\n", 1)[1] if b"\n\n" in text else None
        if body is None:
            continue
        found = [r for (sender, data), r in got.items()
                 if data == body and complete(sender) == complete(quoted(message.sender).decode())]
        wanted = {complete(quoted(r).decode("utf-8", "surrogateescape")) for r, _ in message.rcpts}
        assert any(wanted <= {complete(r) for r in rcpts} for rcpts in found), (
            message.name, wanted, found)


def complete(address):
    """Without the domain that a local address gets."""
    return re.sub(r"@(pp\.)?pennypost\.test$", "", address)


def test_postdrop_of_postfix_alone(postdrop):
    """Records as they come from a program that knows the protocol of postdrop: -r, no more."""
    system, sink, config = postdrop
    system.start()
    records_of = b"".join(bytes([ord(kind), len(text)]) + text for kind, text in (
        ("F", b"A. Name"), ("S", b"me@client.test"), ("A", b"trace_flags=0"), ("A", b"notify_flags=4"),
        ("R", b"x@dest.test"), ("M", b""), ("N", b"Subject: s"), ("N", b""), ("L", b"a long "),
        ("N", b"line"), ("X", b""), ("R", b"y@dest.test"), ("E", b"")))
    done = subprocess.run(["postdrop", "-c", config, "-r"], executable="/usr/sbin/postdrop",
                          input=records_of, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    mail = sink.wait(1)[0]
    assert sorted(mail.recipients) == ["x@dest.test", "y@dest.test"]
    assert mail.body() == b"a long line\r\n" and mail.header("From") == '"A. Name" <me@client.test>'


def test_postqueue_of_postfix_flushes(postdrop):
    system, sink, config = postdrop
    sink.answer = lambda verb, _: "450 4.2.0 later" if verb == "RCPT" else None
    system.start()
    queue_id = system.send("x@dest.test")
    system.wait_deferred(queue_id)
    sink.answer = None
    done = pp_harness.postfix_tool(config, "postqueue", "-f")
    assert (done.returncode, done.stderr) == (0, "")
    system.wait_removed(queue_id)
