"""pp_script.py - SMTP servers that misbehave as a script says, and the file of such scripts.

Each case has an address of its own, 127.1.x.y, all at one port of the kernel's choice, so that one
mail system meets all of them at the same time.
"""

import asyncio
import collections
import os
import re
import socket
import ssl
import struct
import threading

from pp_scratch import SLOW

STAGES = ("CONNECT", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "RCPT1", "RCPT2", "RCPT3",
          "DATA", "BODY", "DOT", "RSET", "QUIT", "BDAT", "CHUNK1", "CHUNK2", "CHUNK", "EHLO2", "MORE")
USUAL = {"CONNECT": "220 peer ESMTP", "HELO": "250 peer", "STARTTLS": "220 2.0.0 go on",
         "AUTH": "235 2.7.0 welcome", "DATA": "354 go on", "DOT": "250 2.0.0 taken",
         "QUIT": "221 2.0.0 bye"}
Outcome = collections.namedtuple("Outcome", "status dsn text")


class Case:
    """One stanza: what the server does, and what is to come of it."""

    def __init__(self, name, line):
        self.name, self.line = name, line
        self.offers = ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"]
        self.to = 1
        self.is_big = False
        self.is_long = False
        self.actions = collections.defaultdict(list)
        self.expect = {"": {}, "postfix": {}, "or": {}}  # recipient -> Outcome
        self.sees = {}
        self.mails = {}
        self.trouble = {}
        self.why = ""

    def wanted(self, field, who):
        """What `who` is expected to make of it; Postfix the same, where nothing else is said."""
        values = getattr(self, field)
        return values[who] if who in values else values[""]

    def outcomes(self, who):
        return {**self.expect[""], **(self.expect[who])}

    @property
    def recipients(self):
        return "abc"[:self.to]


def parse(path):
    """The cases of a file. Every mistake in it is an error: a case that tests nothing looks good."""
    cases = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("["):
                cases.append(Case(line[1:line.index("]")], number))
                continue
            try:
                _parse_line(cases[-1], line)
            except (ValueError, IndexError, KeyError, AssertionError) as error:
                raise ValueError(f"{path}:{number}: {line!r}: {error}") from error
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), [n for n in names if names.count(n) > 1]
    return cases


def _parse_line(case, line):
    who, word = "", line.split()[0]
    if word in ("postfix:", "or:"):
        who = word[:-1]
        line = line.split(None, 1)[1]
        word = line.split()[0]
    rest = line.split(None, 1)[1] if " " in line.strip() else ""
    if word == "offers":
        case.offers = [] if rest == "nothing" else rest.split(", ")
    elif word == "to":
        case.to = int(rest)
    elif word == "big":
        case.is_big = True
    elif word == "long":
        case.is_long = True
    elif word == "at":
        stage, action = rest.split(None, 1)
        assert stage in STAGES, stage
        case.actions[stage].append(_action(action))
    elif word in "abc":
        status, dsn, text = rest.split(None, 2)
        assert status in ("sent", "deferred", "bounced"), status
        assert word in case.recipients, word
        case.expect[who][word] = Outcome(status, dsn, text)
    elif word == "sees":
        case.sees[who] = rest
    elif word == "mails":
        case.mails[who] = int(rest)
    elif word == "trouble":
        case.trouble[who] = {"yes": True, "no": False}[rest]
    elif word == "because":
        case.why += rest
    else:
        raise ValueError(f"{word}?")


def _bytes(text):
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def _action(text):
    verb, _, rest = text.partition(" ")
    if verb == "say":
        return verb, _bytes(rest) + b"\r\n"
    if verb in ("raw", "plain"):
        return verb, _bytes(rest)
    if verb == "flood":
        count, rest = rest.split(None, 1)
        return "raw", int(count) * _bytes(rest)
    if verb == "drip":
        interval, rest = rest.split(None, 1)
        return verb, int(interval) / 1000, _bytes(rest) + b"\r\n"
    if verb == "take":
        return verb, int(rest)
    assert verb in ("silence", "close", "reset", "nothing", "tls", "half"), verb
    return (verb,)


class Record:
    """What the server of one case got to see."""

    def __init__(self):
        self.sees = []      # one list of verbs per connection
        self.mails = []     # (recipients, content) that arrived whole
        self.open = 0


class Servers:
    """All cases, served by one thread. After behave() each server is a good one."""

    def __init__(self, scratch, cases, certificate=None):
        self.cases = cases
        self.tls = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate.cert, certificate.key)
        self.records = {case.name: Record() for case in cases}
        self.address = {case.name: f"127.1.{1 + i // 250}.{1 + i % 250}"
                        for i, case in enumerate(cases)}
        self.is_good = False
        self.port = 0
        self.changed = threading.Condition()
        self.loop = asyncio.new_event_loop()
        self.sockets = []
        self.tasks = set()  # the loop itself holds them weakly
        for case in cases:
            self._listen(case)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        scratch.on_exit(self.close)

    def _listen(self, case):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if case.is_big:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind((self.address[case.name], self.port))
        self.port = sock.getsockname()[1]
        self.sockets.append((case, sock))

    def _run(self):
        asyncio.set_event_loop(self.loop)
        for case, sock in self.sockets:
            self.loop.run_until_complete(asyncio.start_server(
                lambda r, w, case=case: self._session(case, r, w), sock=sock, limit=1 << 16))
        self.loop.run_forever()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        for _, sock in self.sockets:
            sock.close()

    def close(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()

    def wait_quiet(self, timeout):
        """Until no connection is open any more."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: not any(r.open for r in self.records.values()), timeout), [
                    name for name, r in self.records.items() if r.open]

    def behave(self):
        self.is_good = True

    async def _session(self, case, reader, writer):
        self.tasks.add(asyncio.current_task())
        record = self.records[case.name]
        good = self.is_good
        with self.changed:
            record.open += 1

        def settle():
            with self.changed:
                record.open -= 1
                self.changed.notify_all()

        talk = _Talk(Case(case.name, 0) if good else case, Record() if good else record,
                     reader, writer, settle, self.tls)
        try:
            await talk.run()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError, _Over):
            pass
        finally:
            writer.close()
            talk.settle()


class _Over(Exception):
    pass


class _Talk:
    """One connection."""

    def __init__(self, case, record, reader, writer, settled, tls):
        self.case, self.record, self.tls = case, record, tls
        self.reader, self.writer = reader, writer
        self.settled = settled
        self.sees = []
        record.sees.append(self.sees)
        self.recipients, self.chunks, self.taken, self.is_refused = [], [], 0, False
        self.is_tls = False

    def settle(self):
        """What this connection has to show is known."""
        if self.settled:
            self.settled()
        self.settled = None

    async def act(self, stages, usual):
        """True: the script had something to do here."""
        actions = next((self.case.actions[s] for s in stages if s in self.case.actions), None)
        if actions is None:
            self.writer.write(usual)
            await self.writer.drain()
            return False
        for action in actions:
            await getattr(self, "do_" + action[0])(*action[1:])
        return True

    async def do_say(self, text):
        self.writer.write(text)
        await self.writer.drain()

    do_raw = do_say

    async def do_nothing(self):
        pass

    async def do_drip(self, interval, text):
        """Each byte at its time: the whole takes no longer on a machine that is late with some."""
        clock = asyncio.get_running_loop()
        due = clock.time()
        for i in range(len(text)):
            self.writer.write(text[i:i + 1])
            await self.writer.drain()
            due += interval * SLOW
            await asyncio.sleep(max(0, due - clock.time()))

    async def do_take(self, count):
        await self.reader.readexactly(count)
        self.taken = count

    async def do_half(self):
        """Up to the dot, and not the end of its line."""
        await self.reader.readuntil(b"\r\n.")

    async def do_tls(self):
        await self.writer.start_tls(self.tls)
        self.is_tls = True

    async def do_plain(self, text):
        """Past TLS, where it was begun."""
        os.write(self.writer.get_extra_info("socket").fileno(), text)

    async def do_silence(self):
        """Nothing more is read, nor said, up to the end of the test."""
        self.settle()
        await asyncio.Event().wait()

    async def do_close(self):
        raise _Over

    async def do_reset(self):
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise _Over

    async def run(self):
        await self.act(["CONNECT"], b"220 peer ESMTP\r\n")
        while True:
            line = await self.reader.readline()
            if line[:1] == b"\x16":  # a TLS handshake; nobody here can do that
                self.sees.append("TLS")
                self.writer.write(b"what?\r\n")
                await self.writer.drain()
                return
            if not line.endswith(b"\n"):
                return
            verb = line.split()[0].decode("latin-1").upper() if line.split() else "?"
            self.sees.append(verb)
            await self.command(verb, line)
            if verb == "QUIT":
                return

    async def command(self, verb, line):
        if verb == "EHLO":
            lines = ["peer", *(w for w in self.case.offers if w != "STARTTLS" or not self.is_tls)]
            text = "".join(f"250-{w}\r\n" for w in lines[:-1]) + f"250 {lines[-1]}\r\n"
            await self.act(["EHLO2", "EHLO"] if self.is_tls else ["EHLO"], text.encode())
        elif verb == "RCPT":
            self.recipients.append(re.search(rb"<(.*?)>", line).group(1).decode())
            count = len(self.recipients)
            await self.act([f"RCPT{count}", "RCPT"], b"250 2.1.5 Ok\r\n")
        elif verb == "DATA":
            await self.data()
        elif verb == "BDAT":
            await self.bdat(line)
        else:
            if verb in ("MAIL", "EHLO", "RSET"):
                self.recipients = []
            usual = USUAL.get(verb, "250 2.0.0 Ok")
            await self.act([verb] if verb in STAGES else ["MORE"], usual.encode() + b"\r\n")

    async def data(self):
        actions = self.case.actions
        await self.act(["DATA"], b"354 go on\r\n")
        if "DATA" in actions and not any(b"354" in a[-1] for a in actions["DATA"]
                                         if isinstance(a[-1], bytes)):
            return
        if "BODY" in actions:
            await self.act(["BODY"], b"")
        content = []
        while True:
            line = await self.reader.readline()
            if not line.endswith(b"\n"):
                return
            if line == b".\r\n":
                break
            content.append(line[1:] if line.startswith(b".") else line)
        self.sees.append(".")
        self.record.mails.append((self.recipients, b"".join(content)))
        await self.act(["DOT"], b"250 2.0.0 taken\r\n")

    async def bdat(self, line):
        """However many, they show as one."""
        size, *last = line.split()[1:]
        if self.sees[-2:] == ["BDAT", "BDAT"]:
            self.sees.pop()
        else:
            self.chunks, self.is_refused = [], False
        if "BODY" in self.case.actions and not self.chunks:
            await self.act(["BODY"], b"")
        self.chunks.append(await self.reader.readexactly(int(size) - self.taken))
        self.taken = 0
        if self.is_refused:  # RFC 3030 2: those in the pipeline are read, and refused too
            await self.act(["-"], b"503 5.5.1 RSET first\r\n")
            return
        if not last:
            self.is_refused = await self.act([f"CHUNK{len(self.chunks)}", "CHUNK"],
                                             b"250 2.0.0 go on\r\n")
            return
        assert last == [b"LAST"], line
        self.sees.append(".")
        self.record.mails.append((self.recipients, b"".join(self.chunks)))
        self.recipients = []
        await self.act(["BDAT", "DOT"], b"250 2.0.0 taken\r\n")
