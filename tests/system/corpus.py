"""corpus.py - our postcat and postqueue print what Postfix's printed, for every file of the corpus."""

import json
import os
import shutil

import pp_harness
import pytest
from pp_scratch import TOP

CORPUS = os.path.join(TOP, "tests", "corpus")
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt", "defer", "bounce", "trace")

POSTCAT = {"": [], "-e": ["-e"], "-h": ["-h"], "-b": ["-b"], "-bh": ["-bh"], "-oe": ["-oe"],
           "-v": ["-v"], "-de": ["-de"], "-or": ["-or"], "-ov": ["-ov"]}

# Where Postfix's showq breaks off, and with it everybody's listing, ours shows what there is.
LISTED_BY_US = {"dup-sender", "no-sender", "drop-nosender"}


def names(kind):
    return sorted(n for n in os.listdir(os.path.join(CORPUS, kind))
                  if os.path.isdir(os.path.join(CORPUS, kind, n)))


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
    for label, options in POSTCAT.items():
        want = read(os.path.join(case.folder, "expected"), f"postcat{label}.txt")
        if want is not None:
            assert (label, case.run("postcat", *options, "-q", case.id).stdout) == (label, want)
    for option in ("-p", "-j"):
        done = case.run("postqueue", option)
        assert done.stdout == read(os.path.join(case.folder, "expected"), f"postqueue{option}.txt")
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
            assert done.stdout == read(case.folder, f"postqueue{option}.out")


def test_file_arguments(scratch, root):
    """By path, from standard input, and not there."""
    case = Case(scratch, "cases", "drop-simple")
    qfile = os.path.join(case.folder, "qfile")
    want = read(os.path.join(case.folder, "expected"), "postcat.txt")
    assert case.run("postcat", qfile).stdout == want.replace(case.path, qfile)
    with open(qfile, "rb") as file:
        assert case.system.command("postcat", "-b", input=file.read(), env=case.env).stdout \
            == "\nbody of drop\n"
    done = case.run("postcat", "/nonexistent")
    assert (done.returncode, done.stderr) == (1, "postcat: fatal: open /nonexistent: No such file or "
                                              "directory\n")
    done = case.run("postcat", "/etc/passwd")
    assert (done.returncode, done.stderr) == (0, "postcat: warning: /etc/passwd: input is not a "
                                              "valid queue file\n")
