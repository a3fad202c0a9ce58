"""queue_bench.py - the queue commands of both systems on a large deferred queue, up and down.

Each round makes the spool anew for each system, in the same way: names follow the inode, so a copy
would be renamed file by file when Postfix starts. What a command printed is counted, and what it
did is counted in the directories, before its time is written down. A command starts when the
daemon has finished with the one before, as with somebody who types.
"""

import os
import re
import statistics
import subprocess
import sys
import time

import pp_harness
import pp_spool
from pp_scratch import Scratch

KINDS = ("pennypost", "postfix")
TARGETS = {"postqueue -p": (10, 3), "postqueue -j": (10, 3), "qshape deferred": (10, 3),
           "postsuper -h ALL": (1.5, 1.5), "postsuper -H ALL": (1.5, 1.5),
           "postsuper -d ALL": (4, 4)}


def cpu_ticks(pid):
    """Of a process and its children."""
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(name) == pid or int(fields[1]) == pid:
                total += int(fields[11]) + int(fields[12])
    return total


class Subject:
    """One system with a spool of its own; nothing is due, and nothing would be tried."""

    def __init__(self, kind, options):
        self.scratch = Scratch("pp-queue", options.memory)
        self.kind = kind
        path = os.path.join(self.scratch.path, "spool")
        self.out = os.path.join(self.scratch.path, "out")
        self.err = os.path.join(self.scratch.path, "err")
        self.logfile = self.scratch.file("log", "", 0o666)
        main = {"maillog_file": self.logfile, "maillog_file_prefixes": "/tmp, /var, /dev",
                "inet_protocols": "ipv4", "defer_transports": "smtp, relay", "mail_owner": "postfix",
                "relayhost": "[127.0.0.1]:1", "maximal_queue_lifetime": "100d"}
        system = pp_harness.Postfix if kind == "postfix" else pp_harness.Pennypost
        self.system = system(self.scratch, queue_directory=path, **main)
        self.spool = pp_spool.Spool(path)
        self.options = options
        self.ids = self.spool.fill(options.number, options.domains)
        self.number = options.number
        self.pid = None

    def start(self):
        if self.kind == "pennypost":
            self.system.spawn().wait_ready()
            self.pid = self.system.pid()
            return
        system = self.system
        system.process, system.log = self.scratch.start(
            [f"{pp_harness.POSTFIX_SBIN}/postfix", "-c", system.config, "start-fg"], "postfix",
            start_new_session=True)
        self.scratch.on_exit(system._end)
        while "daemon started" not in open(self.logfile, encoding="utf-8").read():
            assert system.process.poll() is None
        with open(f"{system.queue}/pid/master.pid", encoding="ascii") as file:
            self.pid = int(file.read())

    def rest(self):
        """Waits until the daemon does nothing: no tick of its processor time in three tenths."""
        if not self.pid:
            return
        spent, since = cpu_ticks(self.pid), time.monotonic()
        while time.monotonic() - since < 0.3:
            time.sleep(0.05)
            now = cpu_ticks(self.pid)
            if now != spent:
                spent, since = now, time.monotonic()

    def run(self, command, *arguments, given=None):
        """Seconds of a command; what it printed is in self.out."""
        self.rest()
        if self.kind == "pennypost":
            argv, executable = self.system.argv(command, *arguments), None
        else:
            argv = [command, "-c", self.system.config, *arguments]
            executable = f"{pp_harness.POSTFIX_SBIN}/{command}"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            start = time.monotonic()
            done = subprocess.run(argv, executable=executable, input=given, stdout=out,
                                  stderr=err, check=False,
                                  **({} if given else {"stdin": subprocess.DEVNULL}))
            seconds = time.monotonic() - start
        assert done.returncode == 0, (argv, open(self.err, encoding="utf-8").read()[-500:])
        return seconds

    def said(self, pattern):
        text = ""
        for path in (self.err, self.out):
            with open(path, encoding="utf-8") as file:
                text += file.read()
        found = re.search(pattern, text)
        assert found, (self.kind, pattern, text[-300:])
        return int(found.group(1))

    def expect(self, deferred, hold):
        found = self.spool.count("deferred"), self.spool.count("hold")
        assert found == (deferred, hold), (self.kind, found, (deferred, hold))

    def close(self):
        if self.system.process:
            self.system.stop()
        self.scratch.close()


def listings(subject):
    """The commands that only read; the first, uncounted, warms what there is to warm."""
    number = subject.number
    subject.run("postqueue", "-p")
    seconds = {"postqueue -p": subject.run("postqueue", "-p")}
    assert subject.said(r"in (\d+) Requests?\.\n$") == number
    seconds["postqueue -j"] = subject.run("postqueue", "-j")
    with open(subject.out, "rb") as file:
        assert file.read().count(b"\n") == number
    seconds["qshape deferred"] = subject.run("qshape", "deferred")
    assert subject.said(r"TOTAL +(\d+) ") == number
    return seconds


def changes(subject):
    number = subject.number
    seconds = {"postsuper -h ALL": subject.run("postsuper", "-h", "ALL")}
    assert subject.said(r"Placed on hold: (\d+) message") == number
    subject.expect(0, number)
    seconds["postsuper -H ALL"] = subject.run("postsuper", "-H", "ALL")
    assert subject.said(r"Released from hold: (\d+) message") == number
    subject.expect(number, 0)
    some = min(10000, number)
    listed = "".join(f"{name}\n" for name in subject.ids[:some])
    seconds[f"postsuper -d -, {some} ids"] = subject.run("postsuper", "-d", "-",
                                                         given=listed.encode())
    assert subject.said(r"Deleted: (\d+) message") == some
    subject.expect(number - some, 0)
    # `delete ALL` is to meet as many as the other commands did.
    subject.spool.fill(some, subject.options.domains, number)
    settle(subject)
    start = time.monotonic()
    seconds["postsuper -d ALL"] = subject.run("postsuper", "-d", "ALL")
    assert subject.said(r"Deleted: (\d+) message") == number
    subject.expect(0, 0)
    settle(subject)
    seconds["(until its blocks are free)"] = time.monotonic() - start
    return seconds


def settle(subject):
    """Waits until what was deleted is unlinked too."""
    while any(names for _, _, names in os.walk(f"{subject.system.queue}/deleted")):
        time.sleep(0.01)


def one_round(kind, up, options):
    subject = Subject(kind, options)
    try:
        if up:
            subject.start()
        seconds = listings(subject)
        seconds.update(changes(subject))
        return seconds
    finally:
        subject.close()


def limits(options):
    """What the machine needs for as many files without any mail system, one at a time."""
    scratch = Scratch("pp-queue-limit", options.memory)
    spool = pp_spool.Spool(os.path.join(scratch.path, "spool"))
    spool.fill(options.number, options.domains)
    found = {}

    def timed(name, action):
        files = [os.path.join(d, n) for q in ("deferred", "defer", "hold")
                 for d, _, names in os.walk(f"{spool.path}/{q}") for n in names]
        start = time.monotonic()
        for path in files:
            action(path)
        found[name] = time.monotonic() - start

    def read(path):
        fd = os.open(path, os.O_RDONLY)
        os.read(fd, 4096)
        os.close(fd)

    def rename(path):
        if "/deferred/" in path:
            os.rename(path, f"{spool.path}/hold/{os.path.basename(path)}")

    timed("open, read, close (mail and log)", read)
    timed("rename into one directory", rename)
    timed("unlink (mail and log)", os.unlink)
    scratch.close()
    print(f"the machine, {options.number} mails, one system call after the other:")
    for name, seconds in found.items():
        print(f"  {name}: {seconds:.2f} s", flush=True)


def table(results, up):
    """Markdown: medians of both, how many times as fast, and what is asked for."""
    rounds = len(results[KINDS[0]])
    state = "up" if up else "down"
    print(f"\n| daemon {state}, seconds, median of {rounds} | pennypost | Postfix | times as fast |"
          " target |\n|---|---|---|---|---|")
    for name in results[KINDS[0]][0]:
        ours, theirs = (statistics.median(r[name] for r in results[kind]) for kind in KINDS)
        target = TARGETS[name][0 if up else 1] if name in TARGETS else ""
        print(f"| {name} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.1f} | {target} |")


def run(options):
    limits(options)
    for up in (True, False):
        results = {kind: [] for kind in KINDS}
        for number in range(options.rounds):
            for kind in [options.only] if options.only else KINDS:
                seconds = one_round(kind, up, options)
                results[kind].append(seconds)
                print(f"{number + 1} {'up' if up else 'down'} {kind:9} " +
                      "  ".join(f"{k} {v:.3f}" for k, v in seconds.items()), file=sys.stderr,
                      flush=True)
        if all(results.values()):
            table(results, up)
