"""singles.py - one thing at a time: one mail, one mail to many, one sendmail after the other, idling,
starting with a full queue.
"""

import os
import socket
import statistics
import time

import pp_spool
from measure import (PENNYPOST, Section, Sink, Subject, cpu_seconds, many_files, private_kib, say,
                     settle, source, systems)
from pp_scratch import Scratch


class Client:
    """SMTP by hand, with nothing between the socket and the clock."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.expect(b"220")
        self.ask(b"EHLO client.test\r\n", b"250")

    def expect(self, code):
        while True:
            line, found, rest = self.buffer.partition(b"\n")
            if not found:
                more = self.socket.recv(65536)
                assert more, "the server hung up"
                self.buffer += more
                continue
            self.buffer = rest
            if line[3:4] != b"-":
                assert line.startswith(code), line
                return

    def ask(self, data, *codes):
        self.socket.sendall(data)
        for code in codes:
            self.expect(code)

    def envelope(self, recipients):
        self.ask(b"MAIL FROM:<sender@client.test>\r\n"
                 + b"".join(b"RCPT TO:<%s>\r\n" % r.encode() for r in recipients) + b"DATA\r\n",
                 *[b"250"] * (1 + len(recipients)), b"354")

    def content(self, length=4096):
        """Everything but the end; the end is what is timed."""
        line = b"x" * 70 + b"\r\n"
        self.socket.sendall(b"Subject: bench\r\n\r\n" + line * (length // len(line)))

    def finish(self):
        """(when the end of data was sent, when 250 came)"""
        begin = time.monotonic()
        self.ask(b".\r\n", b"250")
        return begin, time.monotonic()

    def close(self):
        self.socket.close()


def latency(options):
    """One mail on an idle system; the next one when the last has arrived and all is quiet."""
    section = Section("one mail on an idle system, 4 KiB, ms")
    count = max(200 // options.rounds, 1)
    for number in range(options.rounds):
        for kind in systems(options):
            area = Scratch("pp-latency")
            sink = Sink(area)
            accepted, delivered = [], []
            with Subject(kind, sink.port) as subject:
                sink.watch()
                client = Client(subject.port)
                for index in range(count + 5):
                    client.envelope(["user@sink.peer.test"])
                    client.content()
                    begin, answered = client.finish()
                    arrived = float(sink.line()[0])
                    time.sleep(0.02)
                    if index >= 5:
                        accepted.append((answered - begin) * 1000)
                        delivered.append((arrived - answered) * 1000)
                client.close()
            area.close()
            for name, values, target in (("end of data to 250", accepted, 0.4),
                                         ("250 to the sink", delivered, 0.3)):
                for value in values:
                    section.add(kind, name, value, False, target)
                section.add(kind, f"{name}, 95th percentile",
                            sorted(values)[int(len(values) * 0.95)], False)
            say(f"latency {number + 1} {kind}: {statistics.median(accepted):.2f} ms to 250, "
                f"{statistics.median(delivered):.2f} ms to the sink")


def fanout(options):
    """One mail, 1,000 recipients in 100 domains, from MAIL to the last at the sink: through one relay,
    and to 100 receivers with addresses of their own where port 25 is free."""
    section = Section("one mail to 1,000 recipients, ms")
    domains = {"100 domains through one relay": [f"domain{n}.example.com" for n in range(100)],
               "100 receivers": [f"[127.0.1.{n}]" for n in range(1, 101)]}
    for number in range(options.rounds):
        for label, names in domains.items():
            for kind in systems(options):
                fan(section, number, label, names, kind)


def fan(section, number, label, names, kind):
    area = Scratch("pp-fanout")
    direct = names[0].startswith("[")
    try:
        sink = Sink(area, *(["0.0.0.0", 25] if direct else []))
    except OSError:
        say("fanout: port 25 is taken")
        area.close()
        return
    recipients = [f"user{n}@{names[n % 100]}" for n in range(1000)]
    took, costs = [], []
    with Subject(kind, sink.port, **({"relayhost": ""} if direct else {})) as subject:
        for turn in range(4):
            cpu = cpu_seconds(subject.pid)
            client = Client(subject.port)
            begin = time.monotonic()
            client.envelope(recipients)
            client.content()
            client.finish()
            arrived = sink.wait("recipients", 1000 * (turn + 1))
            client.close()
            settle(subject.pid)
            if turn:  # the first starts processes
                took.append((arrived - begin) * 1000)
                costs.append((cpu_seconds(subject.pid) - cpu) * 1000)
    area.close()
    say(f"fanout {number + 1} {kind}, {label}: {statistics.median(took):.1f} ms")
    section.add(kind, label, statistics.median(took), False, 0.15)
    section.add(kind, f"{label}: CPU", statistics.mean(costs), False)


def sendmail(options, count=500):
    """sendmail, one after the other, as a script would; all have to arrive."""
    section = Section(f"sendmail, {count} times")
    for number in range(options.rounds):
        for kind in systems(options):
            area = Scratch("pp-sendmail")
            sink = Sink(area)
            mail = area.file("mail", "From: <sender@client.test>\nSubject: bench\n\n"
                             + ("x" * 70 + "\n") * 14)
            with Subject(kind, sink.port) as subject:
                program, argv = subject.argv("sendmail", "-f", "sender@client.test", "-i",
                                             "user@sink.peer.test")
                open_input = [(os.POSIX_SPAWN_OPEN, 0, mail, os.O_RDONLY, 0)]
                begin = time.monotonic()
                for _ in range(count):
                    pid = os.posix_spawn(program, argv, os.environ, file_actions=open_input)
                    assert os.waitpid(pid, 0)[1] == 0
                seconds = time.monotonic() - begin
                arrived = sink.wait("mails", count) - begin
            area.close()
            section.add(kind, "commands a second", count / seconds, target=5)
            section.add(kind, "until all arrived, a second", count / arrived)
            say(f"sendmail {number + 1} {kind}: {count / seconds:.0f}/s")


def without_limit(master):
    """As many sessions as there are descriptors, with Postfix as many as default_process_limit."""
    return master.replace("127.0.0.1:0 inet n - n - - smtpd", "127.0.0.1:0 inet n - n - 0 smtpd")


def idle(options):
    """Private memory of all its processes: fresh, after work, with clients that say nothing."""
    many_files()
    section = Section("private memory, KiB")
    for number in range(options.rounds):
        for kind in systems(options):
            area = Scratch("pp-idle")
            sink = Sink(area)
            with Subject(kind, sink.port, without_limit, default_process_limit="600") as subject:
                settle(subject.pid, 1.5)  # what a start has left over is given back by then
                fresh = private_kib(subject.pid)
                section.add(kind, "before the first mail", fresh, False, 0.333)
                counts = [500, 5000] if kind == PENNYPOST else [500]
                clients = []
                for count in counts:
                    while len(clients) < count:
                        clients.append(Client(subject.port))
                    settle(subject.pid)
                    used = private_kib(subject.pid)
                    target = 0.02 if count == 500 else None
                    section.add(kind, f"with {count} idle connections", used, False, target)
                    section.add(kind, f"each of {count} connections", (used - fresh) / count, False)
                for client in clients:
                    client.close()
            with Subject(kind, sink.port) as subject:
                source(subject.port, 1000)
                sink.wait("mails", 1000)
                settle(subject.pid)
                section.add(kind, "after 1,000 mails by 20 sessions", private_kib(subject.pid), False,
                            0.333)
            area.close()
            say(f"idle {number + 1} {kind}: " + ", ".join(
                f"{n} {row['values'][kind][-1]:.1f}" for n, row in section.rows.items()
                if kind in row["values"]))


def greeting(subject):
    """Seconds from the start of the program to its first 220."""
    begin = time.monotonic()
    subject.spawn()
    while True:
        try:
            with socket.create_connection(("127.0.0.1", subject.port), 60) as client:
                assert client.recv(100).startswith(b"220 ")
                return time.monotonic() - begin
        except ConnectionRefusedError:
            time.sleep(0.001)


def full(kind, path, number, domains):
    """Not started: a subject whose spool holds deferred mail of which none is due."""
    subject = Subject(kind, 1, start=False, queue_directory=path, maximal_queue_lifetime="100d",
                      defer_transports="smtp")
    spool = pp_spool.Spool(path)
    if spool.count("deferred") < number:
        spool.fill(number, domains)
    if kind == PENNYPOST:
        subject.port = subject.scratch.port()
        subject.system.master = subject.system.master.replace("127.0.0.1:0",
                                                              f"127.0.0.1:{subject.port}")
        subject.system.write_config()
    return subject


def indexed(subject, number):
    """When the daemon knows every deferred message."""
    while f" deferred {number} " not in subject.system.must("status"):
        time.sleep(0.05)
    return time.monotonic()


def start(options):
    """The first 220 with a full queue, and when the program has come to rest."""
    number = options.number or 100000
    section = Section(f"start with {number:,} deferred")
    area = Scratch("pp-start")
    paths = {kind: options.spool or os.path.join(area.path, kind) for kind in systems(options)}
    try:
        for turn in range(options.rounds):
            for kind in systems(options):
                with full(kind, paths[kind], number, options.domains) as subject:
                    begin = time.monotonic()
                    first = greeting(subject)
                    pid = subject.pid or subject.system.process.pid
                    if kind == PENNYPOST:
                        whole = indexed(subject, number) - begin
                        section.add(kind, "whole index, s", whole, False)
                    rest = settle(pid, 0.5) - begin
                    used = private_kib(pid)
                    subject.stop()
                section.add(kind, "first 220, ms", first * 1000, False, 0.125)
                section.add(kind, "at rest, s", rest, False)
                section.add(kind, "private memory at rest, MiB", used / 1024, False)
                say(f"start {turn + 1} {kind}, {number}: 220 after {first * 1000:.0f} ms, at rest "
                    f"after {rest:.2f} s, {used / 1024:.1f} MiB")
    finally:
        area.close()


def million(options):
    """Ours alone: Postfix would look at each file when it starts."""
    only, number, rounds = options.only, options.number, options.rounds
    options.only, options.number, options.rounds = "pennypost", number or 1000000, min(rounds, 3)
    start(options)
    options.only, options.number, options.rounds = only, number, rounds
