"""corpus.py - our postcat and postqueue print what Postfix's printed, for every file of the corpus."""

import json
import os
import re
import shutil
import subprocess

import pp_harness
import pytest
from pp_scratch import TIMEOUT, TOP

CORPUS = os.path.join(TOP, "tests", "corpus")
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt", "defer", "bounce", "trace")

POSTCAT = ("", "-e", "-h", "-b", "-bh", "-oe", "-v", "-de", "-or", "-ov", "-o", "-d", "-oh", "-ob",
           "-hv", "-dh", "-db")
EVERY = ("", "-e", "-h", "-b", "-bh", "-eb", "-eh", "-o", "-oe", "-oh", "-ob", "-obh", "-d", "-de",
         "-dh", "-db", "-do", "-v", "-ev", "-hv", "-bv", "-ov", "-dov", "-r", "-er", "-or", "-rv",
         "-orv", "-s 97", "-os 97", "-bs 97", "-evs 97", "-s 0", "-os 99999999")
REAL = "/usr/sbin/postcat"

# Where Postfix's showq breaks off, and with it everybody's listing, ours shows what there is.
LISTED_BY_US = {"dup-sender", "no-sender", "drop-nosender"}


def names(kind):
    return sorted(n for n in os.listdir(os.path.join(CORPUS, kind))
                  if os.path.isdir(os.path.join(CORPUS, kind, n)))


def postfix_keys(listing):
    """A listing in JSON without what ours adds for each recipient."""
    for ours in (r'"next_attempt": \d+, "attempts": \d+', r'"relay": "(?:[^"\\]|\\.)*"',
                 r'"dsn": "[\d.]*"'):
        listing = re.sub(rf'(?<=["\d]), {ours}(?=[,}}])', "", listing)
    return listing


def read(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "surrogateescape")


class Case:
    """A spool that holds one message of the corpus."""

    def __init__(self, scratch, kind, name):
        self.folder = os.path.join(CORPUS, kind, name)
        self.meta = json.loads(read(self.folder, "meta.json"))
        self.id = self.meta["queue_id"]
        queue = self.meta.get("queue_for_offline_tools")
        self.path = self.meta.get("path") or os.path.join(queue, self.id[0] if queue == "deferred"
                                                          else "", self.id)
        self.system = pp_harness.Pennypost(
            scratch, enable_long_queue_ids="yes" if self.meta.get("enable_long_queue_ids") else "no")
        for queue in QUEUES:
            os.makedirs(os.path.join(self.system.queue, queue), exist_ok=True)
        self.put("qfile", self.path, int(self.meta["mode"], 8))
        for log, path in (self.meta.get("logs") or {}).items():
            self.put(f"{log}.log", path, 0o600)
        self.env = dict(os.environ, TZ="UTC", LC_ALL="C")

    def put(self, name, path, mode):
        to = os.path.join(self.system.queue, path)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copyfile(os.path.join(self.folder, name), to)
        os.chmod(to, mode)
        mtime = self.meta.get("mtime", 1795296000)
        os.utime(to, (mtime, mtime))

    def run(self, command, *arguments):
        return self.system.command(command, *arguments, env=self.env)


@pytest.mark.parametrize("name", names("cases"))
def test_whole(scratch, root, name):
    case = Case(scratch, "cases", name)
    for option in POSTCAT:
        want = read(os.path.join(case.folder, "expected"), f"postcat{option}.txt")
        if want is not None:
            shown = case.run("postcat", *option.split(), "-q", case.id).stdout
            assert (option, shown) == (option, want)
    for option in ("-p", "-j"):
        done = case.run("postqueue", option)
        assert postfix_keys(done.stdout) == read(os.path.join(case.folder, "expected"),
                                                 f"postqueue{option}.txt")
        assert done.returncode == 0
        assert done.stderr == ("postqueue: warning: Mail system is down -- accessing queue directly "
                               "(Connect to the Postfix showq service: No such file or directory)\n")


@pytest.mark.parametrize("name", names("damaged"))
def test_damaged(scratch, root, name):
    case = Case(scratch, "damaged", name)
    done = case.run("postcat", "-q", case.id)
    assert done.stdout == read(case.folder, "postcat.out")
    assert done.stderr.splitlines() == (read(case.folder, "postcat.err") or "").splitlines()
    assert done.returncode == case.meta["postcat_rc"]
    if "[cut here:" not in (read(case.folder, "postcat-e.out") or ""):
        assert case.run("postcat", "-e", "-q", case.id).stdout == read(case.folder, "postcat-e.out")
    for option in ("-p", "-j"):
        done = case.run("postqueue", option)
        assert done.returncode == 0
        if name not in LISTED_BY_US:
            assert postfix_keys(done.stdout) == read(case.folder, f"postqueue{option}.out")


class Programs:
    """Our postcat and Postfix's, on the same files by the same names."""

    def __init__(self, scratch):
        if not os.path.exists(REAL):
            pytest.skip("no Postfix here")
        self.system = pp_harness.Pennypost(scratch)
        self.folder = scratch.dir("files")
        self.env = dict(os.environ, TZ="UTC", LC_ALL="C")

    def add(self, kind, name):
        to = os.path.join(self.folder, name)
        shutil.copyfile(os.path.join(CORPUS, kind, name, "qfile"), to)
        return to

    def same(self, *arguments):
        argv = self.system.argv("postcat", *arguments)
        results = []
        for program in (argv[0], REAL):
            done = subprocess.run(["postcat", *argv[1:]], executable=program, env=self.env,
                                  capture_output=True, timeout=TIMEOUT,
                                  stdin=subprocess.DEVNULL, check=False)
            said = [line for line in done.stderr.splitlines()
                    if re.search(b"warning: |fatal: |option", line)]
            results.append((arguments[:2], done.returncode, said, done.stdout))
        assert results[0] == results[1]


@pytest.mark.parametrize("options", EVERY)
def test_whole_as_postfix(scratch, root, options):
    """All whole files in one go; an offset fits those that begin with a size record."""
    both = Programs(scratch)
    files = [both.add("cases", name) for name in names("cases")
             if "s" not in options or not name.count("drop-")]
    both.same(*options.split(), *files)


@pytest.mark.parametrize("name", names("damaged"))
def test_damaged_as_postfix(scratch, root, name):
    both = Programs(scratch)
    file = both.add("damaged", name)
    for options in EVERY[::5]:
        if name == "size-zero" and "e" in options and "b" not in options:
            continue  # the original never ends
        both.same(*options.split(), file)


def test_sizes_of_zero_are_not_followed(scratch, root):
    case = Case(scratch, "damaged", "size-zero")
    for option in ("-e", "-oe", "-de", "-er"):
        done = case.run("postcat", option, "-q", case.id)
        assert done.returncode == 0 and done.stdout.count("MESSAGE CONTENTS") == 1


@pytest.mark.parametrize("queue", ["maildrop", "incoming", "active", "deferred", "hold", "saved"])
def test_every_queue(scratch, root, queue):
    case = Case(scratch, "cases", "smtp-1rcpt")
    os.unlink(os.path.join(case.system.queue, case.path))
    want = read(os.path.join(case.folder, "expected"), "postcat.txt")
    for depth in range(4 if queue not in ("maildrop", "saved") else 1):
        path = os.path.join(queue, *case.id[:depth], case.id)
        case.put("qfile", path, 0o700)
        hashed = queue if depth else ""
        for configured in range(4):  # what lies at another depth is found as well
            case.system.write_config(hash_queue_names=hashed, hash_queue_depth=str(configured or 1))
            done = case.run("postcat", "-q", case.id)
            assert (done.returncode, done.stdout) == (0, want.replace(case.path, path))
        os.unlink(os.path.join(case.system.queue, path))


def test_not_in_corrupt(scratch, root):
    case = Case(scratch, "cases", "smtp-1rcpt")
    os.rename(os.path.join(case.system.queue, case.path),
              os.path.join(case.system.queue, "corrupt", case.id))
    done = case.run("postcat", "-q", case.id)
    assert (done.returncode, done.stderr) == (
        1, f"postcat: fatal: open queue file {case.id}: No such file or directory\n")


@pytest.mark.parametrize("arguments", [
    ["-q", "nosuch"], ["-q", "a/b"], ["-q", ""], ["-q", "a b", "x"], ["-q", ".."], ["-Z"], ["-s"],
    ["-s", "abc"], ["-s", "-5"], ["-s", "10x"], ["-s", ""], ["/nonexistent"], [""], ["/tmp"],
    ["/etc/passwd"], ["-"], ["/dev/null"], [], ["-q"], ["-b", "/etc/passwd", "/nonexistent", "/tmp"],
])
def test_errors_as_postfix(scratch, root, arguments):
    both = Programs(scratch)
    os.makedirs(both.system.queue)
    both.same(*arguments)


def test_missing_configuration(scratch, root):
    both = Programs(scratch)
    both.system.config = "/nonexistent"
    both.same(both.add("cases", "smtp-1rcpt"))
    both.same("-q", "ABCDEF")


def test_file_arguments(scratch, root):
    """By path, from standard input, and not there."""
    case = Case(scratch, "cases", "drop-simple")
    qfile = os.path.join(case.folder, "qfile")
    want = read(os.path.join(case.folder, "expected"), "postcat.txt")
    assert case.run("postcat", qfile).stdout == want.replace(case.path, qfile)
    with open(qfile, "rb") as file:
        assert case.system.command("postcat", "-b", input=file.read(), env=case.env).stdout \
            == "\nbody of drop\n"
    with open(qfile, "rb") as file:  # not through a pipe
        assert case.system.command("postcat", "-b", stdin=file, env=case.env).stdout \
            == "\nbody of drop\n"
    assert case.run("postcat", "-b", qfile, qfile).stdout == "\nbody of drop\n" * 2
    done = case.run("postcat", "/nonexistent")
    assert (done.returncode, done.stderr) == (1, "postcat: fatal: open /nonexistent: No such file or "
                                              "directory\n")
    done = case.run("postcat", "/etc/passwd")
    assert (done.returncode, done.stderr) == (0, "postcat: warning: /etc/passwd: input is not a "
                                              "valid queue file\n")
