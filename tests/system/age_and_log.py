"""age_and_log.py - qshape with and without the daemon; postlog into every kind of log."""

import json
import os
import re
import shutil
import time

import pp_harness
import pytest
from pp_peers import Sink
from pp_scratch import TOP, run

CORPUS = os.path.join(TOP, "tests", "corpus")
NOW_SHIFT = re.compile(rb"^((?:C.{96})?T.)(\d{10})", re.S)


def table(text):
    """Rows of equal count have no order in the original."""
    lines = text.splitlines()
    return lines[:1] + sorted(lines[1:])


def shift_times(path, seconds):
    """Puts the arrival and the file times of a queue file so much later."""
    state = os.stat(path)
    with open(path, "rb") as file:
        text = file.read()
    with open(path, "wb") as file:
        file.write(NOW_SHIFT.sub(lambda m: m.group(1) + b"%d" % (int(m.group(2)) + seconds), text, count=1))
    os.utime(path, (state.st_mtime + seconds, state.st_mtime + seconds))


def fill(queue, names, now):
    """Whole cases of the corpus, as old now as when Postfix counted them."""
    for name in names:
        folder = os.path.join(CORPUS, "cases", name)
        with open(f"{folder}/meta.json", encoding="utf-8") as file:
            meta = json.load(file)
        path = os.path.join(queue, meta["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copyfile(f"{folder}/qfile", path)
        os.chmod(path, int(meta["mode"], 8))
        os.utime(path, (meta["mtime"], meta["mtime"]))
        shift_times(path, int(now) - meta["qshape_now"])
        for log, where in (meta.get("logs") or {}).items():
            os.makedirs(os.path.join(queue, os.path.dirname(where)), exist_ok=True)
            shutil.copyfile(f"{folder}/{log}.log", os.path.join(queue, where))


def cases(*queues):
    found = []
    for name in sorted(os.listdir(f"{CORPUS}/cases")):
        with open(f"{CORPUS}/cases/{name}/meta.json", encoding="utf-8") as file:
            meta = json.load(file)
        if meta["queue"] in queues and not meta["enable_long_queue_ids"] and meta.get("path"):
            found.append(name)
    return found


QUEUES = ("maildrop", "incoming", "active", "deferred", "hold")
ARGUMENTS = (["deferred"], ["hold"], [], ["-s", "deferred", "hold"], ["-p", "-m", "2", "hold", "deferred"],
             ["-l", "-b", "8", "-t", "20", "deferred", "hold"], ["-b", "5", "-t", "30", "hold"], ["-w", "100", "hold"],
             ["-s", "maildrop"], ["maildrop", "hold"], ["-b", "abc", "-m", "x", "-t", "q", "-w", "z", "hold"],
             ["-t", "0.5", "hold"], ["-b", "1", "hold"], ["deferred", "deferred"], ["-n", "2", "-N", "1", "hold"])


@pytest.fixture
def filled(scratch):
    system = pp_harness.Pennypost(scratch)
    for queue in QUEUES:
        os.makedirs(f"{system.queue}/{queue}", exist_ok=True)
    fill(system.queue, cases(*QUEUES), time.time())
    return system


def postfix_qshape(config, *arguments):
    return run(["/usr/sbin/qshape", "-c", config, *arguments],
               env=dict(os.environ, PATH="/usr/sbin:" + os.environ["PATH"]))


def same_as_postfix(ours, config, arguments):
    """The clock goes on meanwhile: somewhere between two of theirs must be ours."""
    for _ in range(5):
        before = postfix_qshape(config, *arguments).stdout
        done = ours(*arguments)
        if table(before) == table(done.stdout):
            assert done.returncode == 0
            return
    assert table(before) == table(done.stdout), arguments


@pytest.mark.skipif(not os.path.exists("/usr/sbin/qshape"), reason="needs Postfix")
def test_the_same_table(filled, scratch, root):
    config = pp_harness.postfix_tools_config(scratch, filled.queue)
    for arguments in ARGUMENTS:
        same_as_postfix(lambda *a: filled.command("qshape", *a), config, arguments)
    path = os.path.join(filled.queue, "hold")
    same_as_postfix(lambda *a: filled.command("qshape", *a), config, [path])
    # Marked to expire: not counted.
    name = os.listdir(path)[0]
    os.chmod(f"{path}/{name}", 0o710)
    same_as_postfix(lambda *a: filled.command("qshape", *a), config, ["hold"])
    done = filled.command("qshape", "nosuch", "/nonexistent")
    assert done.stderr == ("Can't stat nosuch: No such file or directory\n"
                           "Can't stat /nonexistent: No such file or directory\n")
    assert done.stdout == postfix_qshape(config, "nosuch").stdout


def test_damaged_files_have_an_end(scratch):
    system = pp_harness.Pennypost(scratch)
    os.makedirs(f"{system.queue}/deferred/A")
    for name in os.listdir(f"{CORPUS}/damaged"):
        if os.path.exists(f"{CORPUS}/damaged/{name}/qfile"):
            path = f"{system.queue}/deferred/A/A{name.encode().hex().upper()}"
            shutil.copyfile(f"{CORPUS}/damaged/{name}/qfile", path)
            os.chmod(path, 0o700)
    for option in ("-s", "-p"):
        assert system.command("qshape", option, "deferred").returncode == 0
    os.mkfifo(f"{system.queue}/deferred/A/ABCDEF0", 0o700)
    os.symlink("/etc/passwd", f"{system.queue}/deferred/A/ABCDEF1")
    assert system.command("qshape", "deferred").returncode == 0


def test_usage(scratch):
    system = pp_harness.Pennypost(scratch)
    for arguments, first in ((["-x"], "qshape: Unknown option: x"), (["-h"], "Usage: qshape [ -s ] [ -p ]")):
        done = system.command("qshape", *arguments)
        assert (done.returncode, done.stdout) == (255, "")
        assert done.stderr.startswith(first)
    done = run([os.path.join(os.path.dirname(system.binary), "qshape"), "-c", "/nonexistent"], env=system.env)
    assert done.returncode == 1 and done.stderr.startswith("qshape: fatal: ")


def test_the_daemon_says_the_same(scratch, root):
    """Deferred and held mail from its memory; a message that waits is in both."""
    sink = Sink(scratch)
    system = pp_harness.Pennypost(scratch, defer_transports="smtp").relay_to(sink).start()
    ids = [system.send([f"a@d{i}.test", f"b@D{i % 2}.test"], subject=f"m{i}") for i in range(4)]
    for name in ids:
        system.wait_deferred(name)
    system.must("postsuper", "-h", ids[0])
    system.must("postsuper", "-e", ids[1])
    # Half a minute may pass between both on a busy machine; an hour does not.
    steady = [["60" if word == "0.5" else word for word in a] for a in ARGUMENTS]
    up = {tuple(a): system.command("qshape", *a).stdout for a in steady if "-s" not in a or "maildrop" not in a}
    system.stop()
    for arguments, text in up.items():
        assert table(system.command("qshape", *arguments).stdout) == table(text), arguments
    assert re.search(r"^ +TOTAL +4 +4 ", up[("deferred",)], re.M)
    assert re.search(r"^ +client.test +3 +3 ", up[("-s", "deferred", "hold")], re.M)


def lines_of(text):
    """Log lines without time, host and process."""
    return [re.sub(r"^\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ ([^\[]+)\[\d+\]: ", r"\1: ", line) for line in text.splitlines()]


POSTLOG = ((["hello", "world"], None), (["-p", "warn", "careful"], None), (["-p", "WARNING", "w"], None),
           (["-p", "error", "e"], None), (["-t", "tag/x", "-i", "tagged"], None), (["", "a", "", "b"], None),
           ([], b"one\n\ntwo \xff\tx\nlast"), (["nl\nx\001y"], None), (["-v", "-p", "info", "k\u00e4"], None))


def test_postlog_writes_the_file(scratch, root):
    """The same lines as Postfix's, in the same form."""
    file = scratch.file("mail.log", "")
    theirs = scratch.file("theirs.log", "")
    system = pp_harness.Pennypost(scratch, maillog_file=file, maillog_file_prefixes="/")
    config = pp_harness.postfix_tools_config(scratch, system.queue, maillog_file=theirs, maillog_file_prefixes="/")
    for arguments, text in POSTLOG:
        done = system.command("postlog", *arguments, input=text)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with open(file, encoding="utf-8") as log:
        ours = lines_of(log.read())
    assert ours[:5] == ["postfix/postlog: hello world", "postfix/postlog: warning: careful",
                        "postfix/postlog: warning: w", "postfix/postlog: error: e", "tag/x: tagged"]
    if os.path.exists("/usr/sbin/postlog"):
        for arguments, text in POSTLOG:
            pp_harness.postfix_tool(config, "postlog", *arguments, input=text)
        with open(theirs, encoding="utf-8") as log:
            assert lines_of(log.read()) == ours
    done = system.command("postlog", "x", user="nobody", group="nogroup", extra_groups=[])
    assert done.returncode == 1 and "mail.log: Permission denied" in done.stderr


def test_postlog_through_the_daemon(scratch, root):
    """Its standard output is the log: who else could write there?"""
    system = pp_harness.Pennypost(scratch).start()
    assert system.command("postlog", "-t", "my tag", "-p", "warn", "hello", "there").stdout == ""
    system.log.wait_for(r" my tag\[\d+\]: warning: hello there$")
    system.must("postlog", "two\nlines")
    system.log.wait_for(r" postfix/postlog\[\d+\]: two\?lines$")
    system.stop()
    assert re.search(r" postfix/postlog\[\d+\]: down$", system.must("postlog", "down").strip())


def test_postlog_errors(scratch):
    system = pp_harness.Pennypost(scratch)
    for arguments, text in ((["-p", "bad", "x"], 'bad severity: "bad"'), (["-Z"], "usage: postlog [-c config_dir]"),
                            (["-p"], "usage: postlog [-c config_dir] [-i] [-p priority] [-t tag] [-v] [text]")):
        done = system.command("postlog", *arguments)
        assert done.returncode == 1 and f"postlog: fatal: {text}" in done.stderr
