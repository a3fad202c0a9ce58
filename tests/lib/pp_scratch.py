"""pp_scratch.py - folders, ports, programs and logs of one test, and their end.

Everything a test starts is started through a Scratch; leaving it kills by process id what still runs
and removes the folder. Nothing sleeps: a test waits for a line of a log, and the reader of the log
wakes it.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest

# How much slower everything is: for each time that a test gives somebody, as TIMEOUT.
SLOW = 3 if os.environ.get("PENNYPOST_SANITIZE") else 1
TIMEOUT = float(os.environ.get("PENNYPOST_TEST_TIMEOUT") or 60 * SLOW)
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("PENNYPOST_BUILD") or os.path.join(TOP, "build")


class Log:
    """Lines that a program writes to a pipe, collected by a thread of their own."""

    def __init__(self, pipe, name):
        self.name = name
        self.lines = []
        self.ended = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self.thread.start()

    def _read(self, pipe):
        with pipe:
            for raw in pipe:
                with self.changed:
                    self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def mark(self):
        """A place in the log to search from."""
        with self.changed:
            return len(self.lines)

    def wait_for(self, pattern, since=0, count=1, timeout=None):
        """The match of the count-th line that has the pattern; fails with the log's end."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + (timeout or TIMEOUT)
        seen, at = 0, since
        with self.changed:
            while True:
                while at < len(self.lines):
                    match = regex.search(self.lines[at])
                    at += 1
                    seen += match is not None
                    if match and seen == count:
                        return match
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    why = "ended" if self.ended else "said nothing"
                    raise AssertionError(f"{self.name} {why}: waited for {pattern!r}, {seen} of "
                                         f"{count} seen\n{self._tail()}")
                self.changed.wait(left)

    def find(self, pattern, since=0):
        """All matches so far."""
        regex = re.compile(pattern)
        with self.changed:
            return [m for m in map(regex.search, self.lines[since:]) if m]

    def _tail(self, lines=60):
        return "\n".join(f"  {self.name}| {line}" for line in self.lines[-lines:])

    def tail(self, lines=60):
        with self.changed:
            return self._tail(lines)


class Scratch:
    """A folder that other users may enter, with everything that was started in it."""

    def __init__(self, name="pp", in_memory=False):
        """In memory, syncing costs nothing: for tests of what happens when, not of the disk."""
        folder = "/dev/shm" if in_memory and os.access("/dev/shm", os.W_OK) else None
        self.path = tempfile.mkdtemp(prefix=f"{name}-", dir=folder)
        os.chmod(self.path, 0o755)
        self.running = []
        self.cleanups = []
        self.logs = []
        self.sockets = []

    def dir(self, name, mode=0o755):
        path = os.path.join(self.path, name)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        return path

    def file(self, name, text, mode=0o644):
        """Some seconds old: a configuration or table that was written just now, each program of
        Postfix reads again and again until it is no longer."""
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        when = time.time_ns() - 5 * 10 ** 9
        os.utime(path, ns=(when, when))
        return path

    def port(self, family=socket.AF_INET):
        """A port of the kernel's choice. It stays bound, not listening, so that nobody else gets
        it; a server that sets SO_REUSEADDR may still listen there."""
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        self.sockets.append(sock)
        return sock.getsockname()[1]

    def start(self, argv, name, **options):
        """Starts a program with its output as a Log: returns (Popen, Log)."""
        options.setdefault("stdin", subprocess.DEVNULL)
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 bufsize=-1, **options)
        log = Log(child.stdout, name)
        self.running.append(child)
        self.logs.append(log)
        return child, log

    def on_exit(self, function):
        self.cleanups.append(function)

    def report(self):
        return "\n\n".join(log.tail() for log in self.logs if log.lines)

    def close(self):
        for function in reversed(self.cleanups):
            try:
                function()
            except (OSError, AssertionError, subprocess.SubprocessError) as error:
                print(f"cleanup: {error}", file=sys.stderr)
        for child in reversed(self.running):
            if child.poll() is None:
                child.kill()
            child.wait()
        for sock in self.sockets:
            sock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def run(argv, input=None, timeout=None, **options):
    """Runs a program to its end; the result has returncode, stdout and stderr as text."""
    if isinstance(input, str):
        input = input.encode("utf-8", "surrogateescape")
    if input is None:
        options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(argv, input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=timeout or TIMEOUT * 2, check=False, **options)
    done.stdout = done.stdout.decode("utf-8", "surrogateescape")
    done.stderr = done.stderr.decode("utf-8", "surrogateescape")
    return done


def must(argv, **options):
    """run() that has to succeed; returns its output."""
    done = run(argv, **options)
    assert done.returncode == 0, f"{argv} exited {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


def small_disk(scratch, size):
    """A file system of that size at a folder of its own."""
    folder = scratch.dir("small")
    done = run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "pennypost-test", folder])
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    scratch.on_exit(lambda: must(["umount", "-l", folder]))
    return folder


def fill(folder, leave=0):
    """Takes what is free there but for some bytes; returns the file that does."""
    path = os.path.join(folder, "ballast")
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
    if leave:
        os.truncate(path, max(0, os.stat(path).st_blocks * 512 - leave))
    return path


def most_in(times, period):
    """The greatest number of events in any half-open period."""
    times = sorted(times)
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= period:
            first += 1
        most = max(most, last - first + 1)
    return most


def is_root():
    return os.geteuid() == 0


def signal_name(number):
    return signal.Signals(number).name
