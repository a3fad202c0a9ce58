"""postqueue.py - postqueue, mailq and sendmail's queue options: every way to say it wrong, and right.

With PENNYPOST_SUT=postfix the same table holds for the original; where the two differ a row says so."""

import json
import os
import subprocess

import pp_harness
import pp_peers
import pytest

USAGE = ("postqueue: fatal: usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p "
         "| postqueue -s site\n")
EMPTY = "Mail queue is empty\n"
DOWN = ("Connection refused", "No such file or directory")


def is_ours(system):
    return isinstance(system, pp_harness.Pennypost)


def somebody(system, user="nobody"):
    """Postfix's program would refuse a configuration of ours if it were run as it is installed."""
    return {"user": user, "group": "nogroup" if is_ours(system) else "postdrop", "extra_groups": []}


def invalid_id(name):
    return f'postqueue: fatal: Cannot flush queue ID - invalid name: "{name}"\n'


def invalid_site(name):
    return f'postqueue: fatal: Cannot flush mail queue - invalid destination: "{name}"\n'


def no_service(name):
    return f'postqueue: fatal: Flush service is not configured for destination "{name}"\n'


# options -> exit code, standard output, standard error
WRONG = [
    ([], 69, "", USAGE),
    (["-x"], 69, "", "postqueue: invalid option -- 'x'\n" + USAGE),
    (["-h"], 69, "", "postqueue: invalid option -- 'h'\n" + USAGE),
    (["--help"], 69, "", "postqueue: invalid option -- '-'\n" + USAGE),
    (["-p", "-j"], 69, "", USAGE),
    (["-p", "-p"], 69, "", USAGE),
    (["-ff"], 69, "", USAGE),
    (["-fi", "X"], 69, "", USAGE),
    (["-j", "-i", "X"], 69, "", USAGE),
    (["-p", "extra"], 69, "", USAGE),
    (["-s", "one.test", "x"], 69, "", USAGE),
    (["--", "-p"], 69, "", USAGE),
    (["-i"], 69, "", "postqueue: option requires an argument -- 'i'\n" + USAGE),
    (["-s"], 69, "", "postqueue: option requires an argument -- 's'\n" + USAGE),
    (["-c"], 69, "", "postqueue: option requires an argument -- 'c'\n" + USAGE),
    (["-p", "-c", "/nonexistent"], 69, "",
     "postqueue: fatal: open /nonexistent/main.cf: No such file or directory\n"),
    (["-i", "bad id!"], 69, "", invalid_id("bad id!")),
    (["-i", ""], 69, "", invalid_id("")),
    (["-i", "-"], 69, "", invalid_id("-")),
    (["-i", "../x"], 69, "", invalid_id("../x")),
    (["-i", "A" * 256], 69, "", invalid_id("A" * 100 + "...")),
    (["-s", ""], 69, "", invalid_site("")),
    (["-s", "x" * 260], 69, "", invalid_site("x" * 100 + "...")),
] + [(["-s", site], 69, "", invalid_site(site)) for site in (
    "bad..host", ".x.test", "x.test.", "a b", "-x.test", "x-.test", "a.-b", "-", "*", "a@b.test",
    "x" * 64 + ".test", "m\u00fcnchen.test", "123", "12.34", "1.2.3.4", "[]", "[x", "x]", "[1.2.3]",
    "[1.2.3.256]", "[1.2.3.4.5]", "[1.2.3.4].x", "[1.2.3.4]:25", "host:25", "[host.test]", "[::1]",
    "[IPv6:]", "[IPv6:1::2::3]", "[IPv6:x]", "[IPv6:fe80::1%eth0]",
)] + [(["-s", site], 69, "", no_service(site)) for site in (
    "none.test", "x_y.test", "_", "1-2", "0x10", "x" * 63 + ".test", "xn--mnchen-3ya.test",
    "[1.2.3.4]", "[01.2.3.4]", "[ipv6:::1]", "[IPv6:1:2:3:4:5:6:7:8]", "[IPv6:::ffff:1.2.3.4]",
)]

# with the daemon up
RIGHT = [
    (["-p"], 0, EMPTY, ""),
    (["-p", "--"], 0, EMPTY, ""),
    (["-j"], 0, "", ""),
    (["-f"], 0, "", ""),
    (["-i", "NOSUCH123"], 0, "", ""),
    (["-i", "ALL"], 0, "", ""),
    (["-i", "a_b"], 0, "", ""),
    (["-i", "A" * 255], 0, "", ""),
    (["-s", "one.test"], 0, "", ""),
    (["-s", "ONE.test"], 0, "", ""),
    (["-s", "sub.one.test"], 0, "", ""),
]


def is_down(system):
    """What the connection met; a socket that was never made is not there."""
    return DOWN[1] if is_ours(system) else DOWN[0]


def when_down(system, is_root):
    why = is_down(system)
    showq = f"(Connect to the Postfix showq service: {why})\n"
    fatal = "postqueue: fatal: Cannot flush mail queue - mail system is down\n"
    flush = f"postqueue: warning: connect to public/flush: {why}\n" + fatal
    listing = (f"postqueue: warning: Mail system is down -- accessing queue directly {showq}"
               if is_root else
               f"postqueue: fatal: Queue report unavailable - mail system is down {showq}")
    code = 0 if is_root else 69
    return [
        (["-p"], code, EMPTY if is_root else "", listing),
        (["-j"], code, "", listing),
        (["-f"], 69, "", fatal),
        (["-i", "NOSUCH123"], 69, "", flush),
        (["-i", "A" * 255], 69, "", flush),
        (["-s", "one.test"], 69, "", flush),
    ]


def check(system, rows, **who):
    wrong = []
    for options, *want in rows:
        done = system.command("postqueue", *options, **who)
        got = [done.returncode, done.stdout, done.stderr]
        if got != want:
            wrong.append((options, got, want))
    assert not wrong


@pytest.fixture
def running(scratch, sink, root):
    system = pp_harness.system_under_test(scratch, fast_flush_domains="one.test, two.test")
    return system.relay_to(sink).start()


def test_table(running):
    """Every row as root and as somebody, with the daemon up and down."""
    nobody = somebody(running)
    check(running, WRONG + RIGHT)
    check(running, WRONG + RIGHT + [(["-v", "-p"], 0, EMPTY, ""), (["-vv"], 69, "", USAGE)], **nobody)
    running.stop()
    check(running, WRONG + when_down(running, True))
    check(running, WRONG + when_down(running, False), **nobody)


def test_verbose_is_for_root(running):
    done = running.command("postqueue", "-v", "-p")
    assert (done.returncode, done.stdout) == (0, EMPTY)
    assert "postqueue: connect to subsystem public/" in done.stderr


# command and options -> exit code of ours (the original ends with 75 where ours has sysexits), both
# streams, which name mailq in the original where it is called by that name
QUEUE_MODES = [
    ("mailq", [], 0, EMPTY, ""),
    ("mailq", ["-Ac"], 0, EMPTY, ""),
    ("mailq", ["-q"], 0, "", ""),
    ("mailq", ["x"], 64, "", "fatal: display queue mode requires no recipient\n"),
    ("sendmail", ["-bp"], 0, EMPTY, ""),
    ("sendmail", ["-q", "-bp"], 0, EMPTY, ""),
    ("sendmail", ["-bp", "-q"], 0, "", ""),
    ("sendmail", ["-q"], 0, "", ""),
    ("sendmail", ["-q15m"], 0, "", ""),
    ("sendmail", ["-qInosuch9"], 0, "", ""),
    ("sendmail", ["-qRone.test"], 0, "", ""),
    ("sendmail", ["-qRnone.test"], 69, "", no_service("none.test")),
    ("sendmail", ["-qIbad id"], 69, "", invalid_id("bad id")),
    ("sendmail", ["-qI"], 64, "", "fatal: specify: -qIqueueid\n"),
    ("sendmail", ["-qR"], 64, "", "fatal: specify: -qRsitename\n"),
    ("sendmail", ["-bp", "x"], 64, "", "fatal: display queue mode requires no recipient\n"),
    ("sendmail", ["-q", "x@y.test"], 64, "", "fatal: flush queue mode requires no recipient\n"),
    ("sendmail", ["-bp", "-t"], 64, "", "fatal: -t can be used only in delivery mode\n"),
    ("sendmail", ["-q", "-t"], 64, "", "fatal: -t can be used only in delivery mode\n"),
]


def test_sendmail_and_mailq(running):
    for command, options, code, out, err in QUEUE_MODES:
        done = running.command(command, *options)
        if code == 64 and not is_ours(running):
            code = 75
        assert (options, done.returncode, done.stdout) == (options, code, out), done.stderr
        assert done.stderr.endswith(err) and bool(done.stderr) == bool(err)


@pytest.fixture
def full(scratch, root):
    """700 mails in deferred: more than a pipe takes in one piece."""
    system = pp_harness.system_under_test(scratch, authorized_mailq_users="static:anyone")
    system.relay_to(pp_peers.Sink(
        scratch, answer=lambda verb, _: "450 4.2.0 later" if verb == "RCPT" else None)).start()
    client = system.client()
    ids = [system.send(f"user{n}@one.test", client=client) for n in range(700)]
    for queue_id in ids:
        system.wait_deferred(queue_id)
    return system


def shell(system, script, **options):
    """A script in which postqueue is the system's own, with its configuration."""
    system.command("postqueue", "-p")  # writes what the tools of the original read
    argv = ([f"{pp_harness.POSTFIX_SBIN}/postqueue", "-c", f"{system.scratch.path}/pf-tools"]
            if not is_ours(system) else system.argv("postqueue"))
    text = f'postqueue() {{ {" ".join(argv)} "$@"; }}\n{script}'
    return subprocess.run(["bash", "-c", text], capture_output=True, check=False, text=True, **options)


@pytest.mark.parametrize("state", ["up", "down"])
@pytest.mark.parametrize("form", ["-p", "-j"])
def test_where_output_goes(full, form, state):
    """Who has seen enough hangs up, which is no error; a disk that is full is one."""
    if state == "down":
        full.stop()
    done = shell(full, f"postqueue {form} 2>/dev/null | head -n 1; echo ${{PIPESTATUS[0]}}")
    assert len(done.stdout.splitlines()) == 2 and done.stdout.endswith("\n0\n") and done.stderr == ""
    done = shell(full, f"trap '' PIPE; postqueue {form} | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == "0\n" and "rror" not in done.stderr
    done = shell(full, f"postqueue {form} | tail -n 1")
    assert done.stdout.startswith("-- " if form == "-p" else '{"queue_name": ')
    for to, why in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        done = shell(full, f"postqueue {form} {to}; echo $?", timeout=60)
        said = done.stdout + done.stderr
        assert f"postqueue: fatal: output write error: {why}\n" in said
    done = shell(full, f"postqueue {form} >/dev/full 2>/dev/null; echo $?")
    assert done.stdout == "69\n"


def test_both_forms_agree(full):
    """Each message once, in both forms, up and down: the same."""
    seen = []
    for state in ("up", "down"):
        if state == "down":
            full.stop()
        rows = [json.loads(line) for line in full.command("postqueue", "-j").stdout.splitlines()]
        text = full.command("postqueue", "-p").stdout
        assert len(rows) == 700 and len({row["queue_id"] for row in rows}) == 700
        assert text.endswith(f"\n-- {sum(row['message_size'] for row in rows) // 1024} Kbytes in 700 "
                             "Requests.\n")
        assert {block.split()[0] for block in text.split("\n", 1)[1].split("\n\n")[:-1]} \
            == {row["queue_id"] for row in rows}
        seen.append(sorted(json.dumps(row) for row in rows))
    assert seen[0] == seen[1]


def test_time_zone(scratch, root):
    """The zone is that of who asks, on both sides of a change of the clocks."""
    system = pp_harness.Pennypost(scratch).start()
    system.stop()
    for number, when in enumerate((1774745999, 1774746000)):
        name = f"{number:05X}1234"
        path = os.path.join(system.queue, "hold", name)
        records = [("T", f"{when} 0"), ("S", "s@x.test"), ("R", "r@x.test"), ("M", ""), ("N", "x"),
                   ("X", ""), ("E", "")]
        with open(path, "wb") as file:
            for kind, text in records:
                file.write(kind.encode() + bytes([len(text)]) + text.encode())
        os.chmod(path, 0o700)
    for zone, want in (("UTC", ("00:59:59", "01:00:00")), ("Europe/Berlin", ("01:59:59", "03:00:00")),
                       ("Australia/Lord_Howe", ("11:59:59", "12:00:00"))):
        text = system.command("postqueue", "-p", env=dict(system.env, TZ=zone)).stdout
        for time in want:
            assert f"Sun Mar 29 {time}  s@x.test\n" in text, (zone, text)
