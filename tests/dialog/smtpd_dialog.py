"""smtpd_dialog.py - runs the conversations of smtpd/*.txt against the server.

PENNYPOST_SUT=postfix runs the same conversations against the original: where it answers otherwise
the file says so (P:), with the reason above it. The format:

    conf NAME = VALUE      at the head of a file: parameters of its server
    [title]                a conversation on a connection of its own; the 220 is read first
    greeting               do not read the 220: it is part of the conversation
    ehlo                   EHLO c.test, and its answer is skipped
    C: text                to be sent with CRLF; lines in a row leave in one write
    C- text                the same without CRLF
    S: text                the line that must come
    S/ regex               a line that matches
    P: text, P/ regex      what Postfix says instead of the S line above
    close                  the server closes
    L/ regex               a line that the log gets (of this conversation)
    pennypost              the conversation is not for Postfix

In C lines: \\r \\n \\t \\0 \\xHH \\\\, and {300*text} repeats.
"""

import glob
import os
import re
import socket

import pp_harness
import pp_scratch
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
IS_POSTFIX = os.environ.get("PENNYPOST_SUT") == "postfix"

BASE = {
    "myhostname": "mail.pennypost.test",
    "mydestination": "local.test",
    "local_recipient_maps": "",
    "relayhost": "[127.0.0.1]:1",
    "mynetworks": "127.0.0.0/8",
    "smtpd_banner": "$myhostname ESMTP",
    "smtpd_error_sleep_time": "0s",
    "smtpd_discard_ehlo_keywords": "etrn, chunking",
    "smtpd_forbid_bare_newline": "normalize",
    "smtpd_forbid_bare_newline_exclusions": "",
    "smtpd_forbid_unauth_pipelining": "yes",
    "smtpd_client_restrictions": "",
    "minimal_backoff_time": "4000s",
    "queue_run_delay": "4000s",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
}


def decode(text):
    """The bytes of a C line."""
    text = re.sub(r"\{(\d+)\*([^}]*)\}", lambda m: m.group(2) * int(m.group(1)), text)
    simple = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}

    def one(match):
        word = match.group(1).decode()
        return bytes([int(word[1:], 16)]) if word[0] == "x" else simple[word]

    return re.sub(rb"\\(x[0-9a-fA-F]{2}|[rnt0\\])", one, text.encode())


class Conversation:
    def __init__(self, title):
        self.title = title
        self.steps = []
        self.is_greeted = True
        self.is_ours = False

    def add(self, line, place):
        kind, _, text = line.partition(" ")
        if line == "pennypost":
            self.is_ours = True
        elif line == "greeting":
            self.is_greeted = False
        elif line in ("ehlo", "close"):
            self.steps.append((line, "", place))
        elif kind in ("P:", "P/"):
            assert self.steps[-1][0] in ("S:", "S/"), place
            if IS_POSTFIX:
                self.steps[-1] = ("S" + kind[1], text, place)
        elif kind in ("C:", "C-", "S:", "S/", "L/"):
            self.steps.append((kind, text, place))
        else:
            raise AssertionError(f"{place}: {line!r} means nothing")


def read_file(path):
    conf, talks = {}, []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            place = f"{os.path.basename(path)}:{number}"
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("conf "):
                name, _, value = line[5:].partition("=")
                conf[name.strip()] = value.strip()
            elif line.startswith("["):
                talks.append(Conversation(line.strip("[]")))
            else:
                talks[-1].add(line, place)
    return conf, talks


class Client:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=pp_scratch.TIMEOUT)
        self.file = self.sock.makefile("rb")
        self.waiting = b""

    def send(self, data):
        self.waiting += data

    def flush(self):
        if self.waiting:
            self.sock.sendall(self.waiting)
            self.waiting = b""

    def line(self):
        self.flush()
        return self.file.readline().decode("utf-8", "surrogateescape").rstrip("\r\n")

    def is_closed(self):
        self.flush()
        try:
            return self.file.readline() == b""
        except ConnectionResetError:
            return True

    def skip_reply(self):
        while self.line()[3:4] == "-":
            pass


def step(client, kind, text, place, logs):
    if kind == "C:":
        client.send(decode(text) + b"\r\n")
    elif kind == "C-":
        client.send(decode(text))
    elif kind == "ehlo":
        client.send(b"EHLO c.test\r\n")
        client.skip_reply()
    elif kind == "S:":
        got = client.line()
        assert got == text, f"{place}: wanted {text!r}, got {got!r}"
    elif kind == "S/":
        got = client.line()
        assert re.fullmatch(text, got), f"{place}: wanted /{text}/, got {got!r}"
    elif kind == "close":
        assert client.is_closed(), f"{place}: the connection is still open"
    else:
        logs.append((text, place))


def talk(system, conversation):
    mark, logs = system.log.mark(), []
    client = Client(system.port)
    try:
        if conversation.is_greeted:
            client.skip_reply()
        for kind, text, place in conversation.steps:
            step(client, kind, text, place, logs)
        client.flush()
    finally:
        client.file.close()
        client.sock.close()
    for pattern, place in logs:
        assert system.log.wait_for(pattern, since=mark), place
    system.log.wait_for(r"smtpd\[\d+\]: (disconnect from|.*refusing more)", since=mark)


FILES = sorted(glob.glob(os.path.join(HERE, "smtpd", "*.txt")))


@pytest.mark.parametrize("path", FILES, ids=[os.path.basename(p)[:-4] for p in FILES])
def test_conversations(scratch, path):
    """All conversations of a file, on one server; every failure is told."""
    conf, talks = read_file(path)
    assert talks, path
    values = dict(BASE, **conf)
    only_ours = [c for c in talks if not (IS_POSTFIX and c.is_ours)]
    if not only_ours:
        pytest.skip("nothing here is for Postfix")
    system = pp_harness.system_under_test(scratch, **values).start()
    failures = []
    for conversation in only_ours:
        try:
            talk(system, conversation)
        except (AssertionError, OSError) as error:
            failures.append(f"[{conversation.title}] {error}")
    assert not failures, "\n".join(failures)
