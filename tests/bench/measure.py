"""measure.py - what all parts of the bench share: both systems, the sink, what processes cost, tables.

A figure is compared only with figures of the same run: a part starts the systems in turn, round
after round, and a Section keeps every value, so that the median and the spread can be told.
"""

import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import time

import pp_harness
from pp_peers import smtp_source
from pp_scratch import BUILD, Scratch, must

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")
PENNYPOST, POSTFIX = "pennypost", "Postfix"


def say(text):
    print(text, file=sys.stderr, flush=True)


# What processes cost.


def family(pid):
    """The process and all that descend from it."""
    children, found = {}, [pid]
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(name))
    for parent in found:
        found += children.get(parent, [])
    return found


def _each(pid, name):
    for member in family(pid):
        try:
            with open(f"/proc/{member}/{name}", encoding="ascii", errors="replace") as file:
                yield member, file.read()
        except OSError:
            pass


def cpu_seconds(pid):
    """Spent by the whole family, also by those that have ended."""
    return sum(sum(map(int, text.rsplit(")", 1)[1].split()[11:15]))
               for _, text in _each(pid, "stat")) / TICK


def private_kib(pid):
    return sum(int(line.split()[1]) for _, text in _each(pid, "smaps_rollup")
               for line in text.splitlines() if line.startswith("Private_"))


def switches(pid):
    """Context switches of every thread that still lives."""
    total = 0
    for member in family(pid):
        try:
            for task in os.listdir(f"/proc/{member}/task"):
                with open(f"/proc/{member}/task/{task}/status", encoding="ascii") as file:
                    total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
        except OSError:
            pass
    return total


def settle(pid, quiet=0.2, longest=120):
    """Waits until the family does nothing; the moment it became quiet."""
    spent, since, end = cpu_seconds(pid), time.monotonic(), time.monotonic() + longest
    while time.monotonic() - since < quiet and time.monotonic() < end:
        time.sleep(0.02)
        now = cpu_seconds(pid)
        if now != spent:
            spent, since = now, time.monotonic()
    return since


# The peers.


def tool(name):
    """A C program of this folder, compiled for this run."""
    source, program = os.path.join(HERE, f"{name}.c"), os.path.join(BUILD, f"bench-{name}")
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        must(["cc", "-O2", "-o", program, source, "-lssl", "-lcrypto", "-lpthread"])
    return program


class Sink:
    """bench/sink.c: counts, and tells when."""

    def __init__(self, scratch, address="127.0.0.1", port=0, certificate=None):
        argv = [tool("sink"), address, str(port)]
        if certificate:
            argv += [certificate.cert, certificate.key]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        scratch.on_exit(self.close)
        words = self.process.stdout.readline().split()
        if not words:
            raise OSError("the sink does not start")
        self.port, self.mails, self.recipients = int(words[1]), 0, 0

    def line(self, timeout=120):
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        assert ready, "what was sent did not arrive"
        return self.process.stdout.readline().split()

    def wait(self, what, count):
        """When there were so many mails or recipients; more of them is as wrong as fewer."""
        self.process.stdin.write(f"{what} {count}\n".encode())
        self.process.stdin.flush()
        words = self.line()
        self.mails, self.recipients = int(words[1]), int(words[2])
        assert (self.mails if what == "mails" else self.recipients) == count, (words, count)
        return float(words[0])

    def watch(self):
        self.process.stdin.write(b"watch\n")
        self.process.stdin.flush()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def silent(scratch):
    """The port of a server that accepts and says nothing."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    scratch.on_exit(listening.close)
    return listening.getsockname()[1]


def source(port, messages, sessions=20, length=4096, kept=False):
    """Postfix's load generator to its end; when it began and how long it took."""
    begin = time.monotonic()
    smtp_source(port, "-s", sessions, "-l", length, "-m", messages, *(["-d"] if kept else []))
    return begin, time.monotonic() - begin


class Subject:
    """A system with a spool of its own, started, its log in a file. `relay` is a port; `edit` may
    change the text of master.cf."""

    def __init__(self, kind, relay, edit=None, queue_directory=None, start=True, **main):
        self.kind = kind
        self.scratch = Scratch("pp-bench")
        self.log = self.scratch.file("log", "", 0o666)
        values = {"relayhost": f"[127.0.0.1]:{relay}", "maillog_file": self.log,
                  "maillog_file_prefixes": "/tmp, /var, /dev", "inet_protocols": "ipv4",
                  "smtpd_client_connection_count_limit": "0", "default_process_limit": "200",
                  "message_size_limit": "0", "mailbox_size_limit": "0", "mail_owner": "postfix"}
        values.update(main)
        values = {name: value for name, value in values.items() if value is not None}
        make = pp_harness.Pennypost if kind == PENNYPOST else pp_harness.Postfix
        self.system = make(self.scratch, queue_directory=queue_directory, **values)
        if edit:
            self.system.master = edit(self.system.master)
            self.system.write_config()
        self.pid = self.port = None
        try:
            if start:
                self.start()
        except BaseException:
            self.close()
            raise

    def spawn(self):
        system = self.system
        if self.kind == PENNYPOST:
            system.spawn()
            self.pid = system.pid()
            return
        system.process, system.log = self.scratch.start(
            [f"{pp_harness.POSTFIX_SBIN}/postfix", "-c", system.config, "start-fg"], "postfix",
            start_new_session=True)
        self.scratch.on_exit(system._end)
        self.port = system.listen

    def start(self):
        self.spawn()
        if self.kind == PENNYPOST:
            self.system.wait_ready()
            self.port = self.system.port
            return
        while "daemon started" not in open(self.log, encoding="utf-8").read():
            assert self.system.process.poll() is None, self.system.log.tail()
            time.sleep(0.01)
        with open(f"{self.system.queue}/pid/master.pid", encoding="ascii") as file:
            self.pid = int(file.read())

    def stop(self):
        if self.system.process and self.system.process.poll() is None:
            self.system.stop(120)

    def close(self):
        try:
            self.stop()
        finally:
            self.scratch.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def argv(self, command, *arguments):
        """(program, argument vector)"""
        if self.kind == PENNYPOST:
            argv = self.system.argv(command, *arguments)
            return argv[0], argv
        option = "-C" if command == "sendmail" else "-c"
        return (f"{pp_harness.POSTFIX_SBIN}/{command}",
                [command, option, self.system.config, *arguments])


def many_files():
    """As many open files as we may have: an idle connection is one here and one there."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))


# The results.


class Section:
    """Rows of figures by system, and what each row has to reach against the better of the others."""

    made = []

    def __init__(self, title):
        self.title, self.rows = title, {}
        Section.made.append(self)

    def add(self, system, name, value, more=True, target=None):
        """`target`: ours through theirs, at least if more is better, else at most."""
        row = self.rows.setdefault(name, {"more": more, "target": target, "values": {}})
        if target is not None:
            row["target"] = target
        row["values"].setdefault(system, []).append(value)

    def systems(self):
        found = []
        for row in self.rows.values():
            found += [system for system in row["values"] if system not in found]
        return found

    @staticmethod
    def figures(row):
        """(median by system, ours through the best of theirs or None)"""
        medians = {system: statistics.median(v) for system, v in row["values"].items()}
        others = [m for system, m in medians.items() if system != PENNYPOST]
        if not others or PENNYPOST not in medians:
            return medians, None
        best = max(others) if row["more"] else min(others)
        return medians, medians[PENNYPOST] / best if best else None

    def table(self):
        """Markdown."""
        systems = self.systems()
        lines = [f"| {self.title} | " + " | ".join(systems) + " | ratio | target |",
                 "|---" * (len(systems) + 3) + "|"]
        for name, row in self.rows.items():
            medians, ratio = self.figures(row)
            cells = [_short(medians[s]) if s in medians else "" for s in systems]
            target = "" if row["target"] is None else f"{'≥' if row['more'] else '≤'} {row['target']}"
            if ratio is not None and row["target"] is not None:
                met = ratio >= row["target"] if row["more"] else ratio <= row["target"]
                target += "" if met else " missed"
            cells += ["" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}", target]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def plain(self):
        """For JSON: also each value of each round."""
        rows = []
        for name, row in self.rows.items():
            medians, ratio = self.figures(row)
            rows.append({"name": name, "medians": medians, "ratio": ratio, **row})
        return {"title": self.title, "rows": rows}

    @classmethod
    def read(cls, sections):
        """What plain() gave."""
        for plain in sections:
            section = cls(plain["title"])
            for row in plain["rows"]:
                section.rows[row["name"]] = {key: row[key] for key in ("more", "target", "values")}


def _short(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def systems(options, *theirs):
    """The systems of a round in their order."""
    found = [PENNYPOST, *(theirs or [POSTFIX])]
    if options.only:
        found = [s for s in found if s.lower().startswith(options.only)]
    return found
