"""postsuper.py - postsuper beside the original on two copies of the same spool, and beside a daemon.

The ids of a row are made from the inode of the original's file, so that its structure repair finds
nothing to rename: ours carry no inode, which is the first of the differences that are meant.
"""

import os
import pwd
import re
import shutil
import stat
import time

import pp_harness
import pp_peers
import pytest
from pp_scratch import run

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt", "defer", "bounce", "trace",
          "flush", "saved", "private", "public", "pid")
NOW = int(time.time())

# path, mode or kind, age in seconds. {A}: an id; all of them begin with "1".
MAIL = [
    ("deferred/1/{A}", 0o700, -3000), ("defer/1/{A}", 0o600, 50000), ("bounce/{A}", 0o600, 50000),
    ("deferred/1/{B}", 0o700, 7000), ("defer/1/{B}", 0o600, 50000), ("incoming/{C}", 0o700, 4000),
    ("active/{D}", 0o700, 4000), ("hold/{E}", 0o700, 4000), ("maildrop/{F}", 0o744, 4000),
    ("incoming/{G}", 0o600, 4000), ("hold/{H}", 0o710, 9000), ("active/{I}", 0o400, 100),
]
DEEP = [("deferred/{A}", 0o700, 3000), ("defer/{A}", 0o600, 10), ("deferred/2/2/{B}", 0o700, 30),
        ("hold/3/{C}", 0o700, 44), ("incoming/4/5/{D}", 0o700, 33), ("deferred/9/{E}", 0o700, 34),
        ("hold/6", "dir", 0)]
# No name shorter than five characters that is a queue id: Postfix looks for the inode behind its end.
ODD = [("hold/{E}", 0o700, 4000), ("deferred/1/sub", "dir", 0), ("deferred/x.y", 0o700, 10),
       ("hold/link", "link", 0), ("hold/fifo", "fifo", 0), ("hold/1", "dir", 0), ("hold/a.c", 0o700, 9),
       ("deferred/1/{A}", 0o700, 5), ("incoming/1234.567", 0o600, 10), ("maildrop/zz", "dir", 0),
       ("incoming/1235.567", 0o700, 10), ("hold/bogus-name", 0o600, 20), ("hold/.hidden", 0o700, 2),
       ("deferred/full", "dir", 0), ("deferred/full/file", 0o700, 0), ("incoming/{K}", 0o600, 800000),
       ("incoming/{L}", 0o600, 500000)]
TWICE = [("deferred/1/{A}", 0o700, 3000), ("incoming/{A}", 0o700, 30), ("defer/1/{A}", 0o600, 5)]


class Spool:
    def __init__(self, scratch, name, **main):
        self.queue, self.log = scratch.dir(f"{name}-queue"), scratch.file(f"{name}.log", "", 0o666)
        self.owner = pwd.getpwnam("postfix")
        for folder in QUEUES:
            self.make(folder)
        os.chown(f"{self.queue}/pid", 0, 0)
        values = {"compatibility_level": "3.6", "queue_directory": self.queue, "mail_owner": "postfix",
                  "data_directory": scratch.dir(f"{name}-data"), "maillog_file": self.log,
                  "maillog_file_prefixes": scratch.path, "myhostname": "mx.pennypost.test", **main}
        self.config = scratch.dir(f"{name}-etc")
        scratch.file(f"{self.config}/main.cf", pp_harness.config_text(values))
        scratch.file(f"{self.config}/master.cf", "")

    def make(self, folder):
        path = f"{self.queue}/{folder}"
        if not os.path.isdir(path):
            if "/" in folder:
                self.make(os.path.dirname(folder))
            os.mkdir(path, 0o700)
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)

    def put(self, name, kind, age=0):
        """Returns the path; a name that ends in "*" gets the inode in its place."""
        if kind == "dir":
            return self.make(name)
        self.make(os.path.dirname(name))
        path = f"{self.queue}/{name}"
        if kind == "link":
            os.symlink("/etc/passwd", path)
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            with open(path, "w", encoding="ascii") as file:
                file.write("text")
                path = path.replace("*", f"{os.fstat(file.fileno()).st_ino:X}")
                os.rename(file.name, path)
            os.chmod(path, kind)
            os.utime(path, (NOW - age, NOW - age))
        os.lchown(path, self.owner.pw_uid, self.owner.pw_gid)
        return path

    def tree(self):
        """Every name but directories that are not asked about: (name, mode, time)."""
        rows = []
        for folder, folders, files in os.walk(self.queue):
            for name in files + folders:
                status = os.lstat(os.path.join(folder, name))
                path = os.path.relpath(os.path.join(folder, name), self.queue)
                when = "now" if abs(status.st_mtime - time.time()) < 60 else int(status.st_mtime)
                if not stat.S_ISDIR(status.st_mode):
                    rows.append((path, oct(status.st_mode), when))
                elif path.count("/") > 0:
                    rows.append((path + "/", oct(status.st_mode), ""))
        return sorted(rows)


class Pair:
    """Two spools of the same rows: `theirs` for Postfix's program, `ours` for ours."""

    def __init__(self, scratch, rows, **main):
        if not os.path.exists("/usr/sbin/postsuper"):
            pytest.skip("no Postfix to compare with")
        self.theirs, self.ours = Spool(scratch, "pf", **main), Spool(scratch, "pp", **main)
        self.ids = {}
        for name, kind, age in rows:
            missing = [k for k in re.findall(r"\{(\w+)\}", name) if k not in self.ids]
            if missing:
                path = self.theirs.put(name.replace("{%s}" % missing[0], "1%04X*" % len(self.ids)), kind, age)
                self.ids[missing[0]] = os.path.basename(path)
                self.ours.put(self.fill(name), kind, age)
            else:
                self.theirs.put(self.fill(name), kind, age)
                self.ours.put(self.fill(name), kind, age)

    def fill(self, text):
        return re.sub(r"\{(\w+)\}", lambda m: self.ids[m.group(1)], text)

    def blank(self, text):
        """Ids, paths, process ids and times of a log are not the same in both."""
        for key, value in self.ids.items():
            text = text.replace(value, "{%s}" % key)
        text = text.replace(self.theirs.queue, "QUEUE").replace(self.ours.queue, "QUEUE")
        return re.sub(r"(?m)^.*? mx postfix/postsuper\[\d+\]", "postsuper", text)

    def do(self, spool, args, given=None, **options):
        args = [self.fill(a) for a in args]
        given = None if given is None else self.fill(given)
        if spool is self.theirs:
            done = pp_harness.postfix_tool(spool.config, "postsuper", *args, input=given, **options)
        else:
            binary = os.path.join(os.path.dirname(pp_harness.default_binary()), "postsuper")
            done = run([binary, "-c", spool.config, *args], input=given, **options)
        with open(spool.log, encoding="utf-8") as log:
            lines = self.blank(log.read())
        tree = [(self.blank(row[0]), *row[1:]) for row in spool.tree()]
        return (done.returncode, self.blank(done.stdout), self.blank(done.stderr), lines, sorted(map(str, tree)))

    def both(self, args, given=None, **options):
        return self.do(self.theirs, args, given, **options), self.do(self.ours, args, given, **options)


THE_SAME = [
    # rows, arguments, standard input
    (MAIL, ["-d", "{A}"], None),
    (MAIL, ["-d", "{A}", "-h", "{B}", "-r", "{C}", "-d", "{D}"], None),
    (MAIL, ["-h", "{B}", "-d", "{A}", "-H", "{B}", "-d", "{B}"], None),
    (MAIL, ["-d", "{F}", "-d", "{E}", "-d", "{C}", "-d", "{A}", "-d", "{A}"], None),
    (MAIL, ["-h", "ALL", "-H", "ALL"], None),
    (MAIL, ["-H", "ALL", "-h", "ALL"], None),
    (MAIL, ["-r", "ALL"], None),
    (MAIL, ["-e", "ALL"], None),
    (MAIL, ["-e", "ALL", "-e", "ALL"], None),
    (MAIL, ["-f", "ALL"], None),
    (MAIL, ["-h", "ALL", "incoming"], None),
    (MAIL, ["-h", "ALL", "incoming", "deferred", "flush"], None),
    (MAIL, ["-d", "ALL", "deferred", "defer", "bounce", "trace"], None),
    (MAIL, ["-d", "ALL", "defer"], None),
    (MAIL, ["-d", "ALL", "flush"], None),
    (MAIL, ["-d", "ALL"], None),
    (MAIL, ["-f", "{H}", "-f", "{A}", "-e", "{A}", "-e", "{E}"], None),
    (MAIL, ["-f", "{E}", "hold"], None),
    (MAIL, ["-f", "{A}", "hold"], None),
    (MAIL, ["-f", "-"], "{E}\n{A}\n"),
    (MAIL, ["-f", "{H}", "-h", "{H}"], None),
    (MAIL, ["-e", "-"], "{E}\n{A}\n{A}\n{F}\n"),
    (MAIL, ["-r", "-"], "{A}\n{E}\n{F}\n{G}\n"),
    (MAIL, ["-H", "-"], "{A}\n{E}\n{H}\n"),
    (MAIL, ["-d", "all"], None),
    (MAIL, ["-d", "-"], "{A}\n\n {B}\n{C} \n{D}\r\nbad/id\n\tx\n{E}"),
    (MAIL, ["-d", "-"], "ALL\n-\nall\n{E}*\n{E}!\n"),
    (MAIL, ["-d", "-"], ""),
    (MAIL, ["-d", "-"], "{E}\0rest\n{A}\n"),
    (MAIL, ["-d", "-", "-h", "-"], "{A}\n"),
    (MAIL, ["-d", "-", "hold"], "{E}\n{A}\n{A}\n"),
    (MAIL, ["-d", "{F}", "maildrop"], None),
    (MAIL, ["-d", "{A}", "hold"], None),
    (MAIL, ["-d", "{A}", "--", "hold"], None),
    (MAIL, ["-d", "{A}", "hold", "-d", "{E}"], None),
    (MAIL, ["-d", "{G}", "-h", "{G}", "-r", "{G}", "-e", "{G}", "-d", "{I}"], None),
    (MAIL, ["-r", "{F}", "-h", "{F}", "-H", "{A}"], None),
    (MAIL, ["-d", "", "-d", "../x", "-d", "{A},{B}", "-d", "{A} {B}", "-d", "\x01\xe4x"], None),
    (MAIL, ["-d", "0123456789"], None),
    (MAIL, ["-s", "-h", "{A}", "-r", "ALL", "hold", "deferred"], None),
    (MAIL, ["-p"], None),
    (MAIL, ["-S"], None),
    (MAIL, ["-sp", "hold"], None),
    (MAIL, [], None),
    (MAIL, ["hold"], None),
    (MAIL, ["-Z"], None),
    (MAIL, ["-d"], None),
    (MAIL, ["--help"], None),
    (MAIL, ["-s", "nosuch"], None),
    (MAIL, ["-d", "ALL", "corrupt"], None),
    (MAIL, ["-d", "ALL", "saved"], None),
    (MAIL, ["-d", "{A}", "nosuch"], None),
    (TWICE, ["-d", "{A}"], None),
    (TWICE, ["-e", "{A}"], None),
    (TWICE, ["-d", "ALL"], None),
    ([("hold/abc", 0o700, 2), ("hold/A_B_C_", 0o700, 2)], ["-d", "abc", "-d", "A_B_C_"], None),
]


@pytest.mark.parametrize("rows, args, given", THE_SAME,
                         ids=[f"{n}{'_'.join(a)}".replace("/", "") for n, (_, a, _) in enumerate(THE_SAME)])
def test_as_postfix(scratch, root, rows, args, given):
    """Output, exit code, log, and what is left of the spool."""
    theirs, ours = Pair(scratch, rows).both(args, given)
    if "maildrop" not in " ".join(args) and "ALL" in args:
        # Nobody can know that a half-written submission will not become mail in a moment.
        ours = (*ours[:4], [row for row in ours[4] if "deleted/" not in row])
    assert ours == theirs


@pytest.mark.parametrize("rows", [MAIL, ODD, DEEP], ids=["mail", "odd", "deep"])
@pytest.mark.parametrize("main", [{}, {"hash_queue_depth": "2"},
                                  {"hash_queue_depth": "3", "hash_queue_names": "deferred, defer, hold, incoming"}],
                         ids=["default", "two", "three"])
@pytest.mark.parametrize("args", [["-s"], ["-S"], ["-s", "-p"], []])
def test_repair_as_postfix(scratch, root, rows, main, args):
    """The same tree and warnings in the end; and ours says of each file and directory what became of it."""
    pair = Pair(scratch, rows, **main)
    before = {pair.blank(row[0]) for row in pair.ours.tree()}
    theirs, ours = pair.both(args)
    after = {pair.blank(row[0]) for row in pair.ours.tree()}
    assert (theirs[0], theirs[4]) == (ours[0], ours[4])
    lines = [line.removeprefix("postsuper: ") for line in ours[2].splitlines()]
    assert {x for x in lines if x.startswith("warning")} == \
        {x.removeprefix("postsuper: ") for x in theirs[2].splitlines()}
    told, made = set(), set()
    for line in lines:
        if match := re.fullmatch(r"renamed file (\S+) as (\S+)", line):
            told.add(match.group(1))
            made.add(match.group(2))
        elif match := re.fullmatch(r"removed file (\S+)", line):
            told.add(match.group(1))
        elif match := re.fullmatch(r"remove directory (\S+)", line):
            told.add(match.group(1) + "/")
        else:
            assert line.startswith("warning: "), line
    assert told == before - after
    assert made == {name for name in after - before if not name.endswith("/")}
    assert pair.do(pair.ours, args)[4] == ours[4]


def test_repair_finishes_and_cleans(scratch, root):
    """What is beyond Postfix: logs without a message, ID#FIX of a repair that was broken off."""
    pair = Pair(scratch, MAIL + [("defer/1/10000FFFF", 0o600, 60), ("trace/10000FFFE", 0o600, 60),
                                 ("trace/{E}", 0o600, 60)])
    pair.ours.put("deferred/1/1ABCD123456#FIX", 0o700)
    code, _, err, log, _ = pair.do(pair.ours, ["-s"])
    assert code == 0 and err == log
    assert sorted(err.splitlines()) == [
        "postsuper: removed file defer/1/10000FFFF: a log without a message",
        "postsuper: removed file trace/10000FFFE: a log without a message",
        "postsuper: renamed file deferred/1/1ABCD123456#FIX as deferred/1/1ABCD123456"]
    assert os.path.exists(pair.fill(f"{pair.ours.queue}/trace/{{E}}"))


def test_verbose_as_postfix(scratch, root):
    """Its library talks as well, which ours has nothing to say about."""
    for args in (["-d", "{A}"], ["-h", "{B}"], ["-f", "{E}"], ["-r", "{C}"]):
        theirs, ours = Pair(scratch, MAIL).both([*args, "-v"])
        lines = [x for x in theirs[2].splitlines() if "file" in x or "{" in x or "message" in x]
        assert ours[2].splitlines() == lines
        for name in ("pf-queue", "pp-queue"):
            shutil.rmtree(f"{scratch.path}/{name}")


# What ours does otherwise, and why: rows, arguments, what it says, files that Postfix leaves or loses.
DIFFERENCES = [
    # The logs of a message go with it; Postfix leaves them to whoever gets the id next.
    (MAIL, ["-d", "ALL", "deferred"], ["Deleted: 2 messages"], {"bounce/{A}", "defer/1/{A}", "defer/1/{B}"}, set()),
    # A rename onto a message destroys it.
    (TWICE, ["-h", "ALL"], ["warning: {A}: not placed on hold: there is another message of this id",
                            "Placed on hold: 1 message"], set(), {"deferred/1/{A}"}),
    # A sendmail that is still writing will say that its mail was sent.
    ([("maildrop/{A}", 0o600, 5), ("maildrop/{B}", 0o744, 5)], ["-d", "ALL"], ["Deleted: 1 message"],
     set(), {"maildrop/{A}"}),
    # A name that is no id is no mail.
    ([("hold/{A}", 0o700, 5), ("hold/READ.ME", 0o700, 5)], ["-d", "ALL"], ["Deleted: 1 message"],
     set(), {"hold/READ.ME"}),
    # A wrong name is found out before half of it is done.
    (MAIL, ["-d", "ALL", "hold", "nosuch"], ["fatal: invalid directory name: nosuch"], set(),
     {"hold/{E}", "hold/{H}"}),
]


@pytest.mark.parametrize("rows, args, said, gone, kept", DIFFERENCES)
def test_other_than_postfix(scratch, root, rows, args, said, gone, kept):
    theirs, ours = Pair(scratch, rows).both(args)
    assert ours[2].splitlines() == [f"postsuper: {line}" for line in said]
    files = [{row.split("'")[1] for row in side[4] if not row.split("'")[1].endswith("/")} for side in (theirs, ours)]
    assert (files[0] - files[1], files[1] - files[0]) == (gone, kept)
