"""maildrop.py - what sendmail leaves in maildrop: Postfix's bytes, or nothing and a reason."""

import json
import os
import resource
import signal
import subprocess

import pp_harness
import pytest
from pp_scratch import TOP

CASES = os.path.join(TOP, "tests", "corpus", "cases")


@pytest.fixture
def down(scratch):
    """Pennypost with a spool, not running."""
    system = pp_harness.Pennypost(scratch)
    system.start()
    system.stop()
    return system


def varint(data, at):
    length = shift = 0
    while True:
        byte = data[at]
        at += 1
        length |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return length, at


def records(data):
    found, at = [], 0
    while at < len(data):
        kind = chr(data[at])
        length, at = varint(data, at + 1)
        found.append((kind, data[at:at + length]))
        at += length
    return found


def dropped(system):
    """The records of the one file in maildrop."""
    (path,) = system.queue_files()
    assert path.startswith("maildrop/")
    path = os.path.join(system.queue, path)
    assert os.stat(path).st_mode & 0o777 == 0o744
    with open(path, "rb") as file:
        data = file.read()
    os.unlink(path)
    return records(data)


def content(found):
    lines, inside = b"", False
    for kind, payload in found:
        if kind == "X":
            break
        if inside:
            lines += payload + (b"\n" if kind == "N" else b"")
        inside = inside or kind == "M"
    return lines


def submit(system, *options, text=b"\nhello\n", **more):
    done = subprocess.run(system.argv("sendmail", *options), input=text, capture_output=True,
                          env=system.env, check=False, **more)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def drop(system, *options, text=b"\nhello\n", warning=""):
    code, out, err = submit(system, *options, text=text)
    assert (code, out) == (0, "") and warning in err and bool(err) == bool(warning), err
    return dropped(system)


def values(found, kind):
    return [payload.decode() for k, payload in found if k == kind]


SENDER = ["-F", "root", "-f", "sender@ok.test"]


@pytest.mark.parametrize("case, options", [
    ("drop-simple", SENDER + ["a@ok.test"]),
    ("drop-8bit", SENDER + ["-B", "8BITMIME", "a@ok.test"]),
    ("drop-Bnull", ["-F", "root", "-f", "", "a@ok.test"]),
    ("drop-dsn", ["-F", "Full Name", "-f", "sender@ok.test", "-N", "success,delay", "-R", "hdrs",
                  "-V", "env1", "a@ok.test", "b@ok.test"]),
    ("drop-long", SENDER + ["a@ok.test"]),
    ("drop-noargs-user", ["-F", "", "-f", "alice", "a@ok.test", "bob"]),
    ("drop-utf8", ["-F", "root", "-f", "s\u00ebnder@ok.test", "ren\u00e9e@ok.test"]),
    ("drop-v", SENDER + ["-v", "a@ok.test"]),
    ("drop-100", SENDER + [f"u{i}@d{i % 4}.sub.test" for i in range(100)]),
    ("long-drop", SENDER + ["a@ok.test"]),
])
def test_bytes_of_postfix(down, case, options):
    with open(os.path.join(CASES, case, "qfile"), "rb") as file:
        wanted = records(file.read())
    with open(os.path.join(CASES, case, "meta.json"), encoding="utf-8") as file:
        down.write_config(enable_long_queue_ids="yes" if json.load(file)["enable_long_queue_ids"]
                          else "no")
    got = drop(down, *options, text=content(wanted))
    assert got[0][0] == "T" and len(got[0][1].split()) == 2
    assert got[1:] == wanted[1:]


def test_header_recipients(down):
    got = drop(down, "-t", "-f", "s@x.test", "cmd@x.test", text=(
        b'To: a@x.test, bob\nCc: g: c@x.test;\nBcc: "q w"@hid.test\nSubject: x@no.test\n\n'
        b"To: body@x.test\n"))
    kinds = "".join(kind for kind, _ in got)
    assert kinds == "TAFSRM" + "N" * 6 + "X" + "R" * 4 + "E"
    assert values(got, "R") == ["cmd@x.test", "a@x.test", "bob", "c@x.test", "q w@hid.test"]


def test_resent_recipients_come_first(down):
    got = drop(down, "-t", "-N", "never", text=b"To: a@x.test\nResent-To: b@x.test\n\nx\n")
    assert values(got, "R") == ["b@x.test"]
    assert got[-3] == ("A", b"notify_flags=1")
    got = drop(down, "-t", text=b"To: a@x.test\nResent-From: b@x.test\n\nx\n")
    assert values(got, "R") == ["a@x.test"]
    got = drop(down, "-t", text=b"To: a@x.test")
    assert values(got, "R") == ["a@x.test"]


@pytest.mark.parametrize("fix, text, wanted", [
    ("always", b"a\r\nb\nc\r\n", b"a\nb\nc\n"),
    ("strict", b"a\r\nb\nc\r\n", b"a\nb\nc\n"),
    ("strict", b"a\nb\r\n", b"a\nb\r\n"),
    ("never", b"a\r\nb\n", b"a\r\nb\n"),
    ("always", b"a\rb\r\r\nlast\r", b"a\rb\r\nlast\r\n"),
    ("always", b"no end", b"no end\n"),
    ("always", b"", b""),
    ("always", b"a\n.\nb\n", b"a\n"),
    ("always", b"a\n..\n.b\n", b"a\n..\n.b\n"),
    ("always", b"a\n.\r\nb\n", b"a\n"),
    ("always", b"From me Sat Nov 21\nTo: x\n\nFrom y\n", b"To: x\n\nFrom y\n"),
    ("always", b"x" * 2048 + b"\n" + b"y" * 4096, b"x" * 2048 + b"\n" + b"y" * 4096 + b"\n"),
    ("always", b"\0\n", b"\0\n"),
])
def test_lines(down, fix, text, wanted):
    down.write_config(sendmail_fix_line_endings=fix)
    assert content(drop(down, "a@x.test", text=text)) == wanted


def test_long_lines_are_cut_as_postfix_does(down):
    got = drop(down, "a@x.test", text=b"a" * 2047 + b"\n" + b"b" * 2048 + b"\n" + b"c" * 2049 + b"\n")
    assert [(k, len(p)) for k, p in got if k in "NL"] == [
        ("N", 2047), ("L", 2048), ("N", 0), ("L", 2048), ("N", 1)]


@pytest.mark.parametrize("options, sender, recipients", [
    (["-f", "Foo <s@ok.test>", "A b <a@b.test>, d"], "s@ok.test", ["a@b.test", "d"]),
    (["-r", "<>", "a@b.test,c@d.test"], "", ["a@b.test", "c@d.test"]),
    (["-f", "s@x.test", "--", "-odd@x.test"], "s@x.test", ["-odd@x.test"]),
    (["-fs@x.test", "bad@@addr@"], "s@x.test", ["bad@@addr@"]),
])
def test_addresses(down, options, sender, recipients):
    got = drop(down, *options)
    assert values(got, "S") == [sender]
    assert values(got, "R") == recipients


def test_options_that_change_records(down):
    assert ("A", b"rewrite_context=remote") in drop(down, "-G", "a@x.test")
    assert ("A", b"trace_flags=512") in drop(down, "-bv", "a@x.test")
    assert ("V", b"+=") in drop(down, "-XV", "a@x.test")
    assert ("V", b"-=") in drop(down, "-XV-=", "a@x.test")
    assert ("A", b"encoding=7bit") in drop(down, "-B", "7bit", "a@x.test")


def test_warnings_that_go_on(down):
    for options, warning in (
            (["-N", "bogus"], 'unknown DSN NOTIFY command value "bogus" in "bogus"'),
            (["-N", "never,delay"], "bad -N option value -- ignored"),
            (["-R", "bogus"], "bad -R option value -- ignored"),
            (["-f", "bad sender <"], "-f option specified malformed sender: bad sender <")):
        got = drop(down, *options, "a@x.test", warning="sendmail: warning: " + warning)
        assert values(got, "R") == ["a@x.test"]
        assert not any(b"notify_flags" in p or b"ret_flags" in p for _, p in got)


@pytest.mark.parametrize("options, code, text", [
    ([], 64, "Recipient addresses must be specified on the command line or via the -t option"),
    (["-bX", "a@x.test"], 64, "unsupported: -bX"),
    (["-bd"], 64, "pennypost start"),
    (["-Z", "a@x.test"], 64, "invalid option -Z"),
    (["-f"], 64, "nothing follows -f"),
    (["-B", "9BIT", "a@x.test"], 64, "-B option needs 8BITMIME or 7BIT"),
    (["-V", "a\nb", "a@x.test"], 64, "-V option needs at most 100 printable characters"),
    (["-XV!!", "a@x.test"], 64, "-XV option needs two of the characters"),
    (["-qx"], 64, "unsupported: -qx"),
    (["-bi", "nosuch"], 64, "alias initialization mode requires no recipient"),
    (["-t"], 65, "No recipient addresses found in message header"),
    (["a\x01b@x.test"], 65, "malformed recipient address"),
    (["x" * 3000 + "@x.test"], 65, "malformed recipient address"),
    (["-C", "/nonexistent/etc", "a@x.test"], 78, "/nonexistent/etc"),
])
def test_errors_leave_nothing(down, options, code, text):
    got, out, err = submit(down, *options)
    assert (got, out) == (code, "")
    assert err.startswith("sendmail: fatal: ") and text in err
    assert down.queue_files() == []


def test_nothing_to_do(down):
    down.write_config(alias_database="")
    for options in (["-q15m"], ["-bi"], ["-I"]):
        assert submit(down, *options) == (0, "", "")
    newaliases = os.path.join(os.path.dirname(down.binary), "newaliases")
    assert subprocess.run([newaliases, "-C", down.config], env=down.env, check=False).returncode == 0
    assert down.queue_files() == []


def test_who_may_submit(down, root):
    # What a set-gid sendmail is for; this one is not.
    os.chmod(os.path.join(down.queue, "maildrop"), 0o1733)
    down.write_config(authorized_submit_users="!nobody, static:all")
    code, _, err = submit(down, "a@x.test", user="nobody", group="nogroup", extra_groups=[])
    assert code == 77
    assert "User nobody(65534) is not allowed to submit mail" in err
    down.write_config(authorized_submit_users="nobody")
    code, _, err = submit(down, "a@x.test", user="nobody", group="nogroup", extra_groups=[])
    assert code == 0, err
    assert values(dropped(down), "S") == ["nobody"]
    code, _, err = submit(down, "a@x.test", user=54321, group=54321, extra_groups=[])
    assert code == 77 and "User unknown(54321) is not allowed to submit mail" in err


def test_file_size_limit(down):
    """A write that fails half-way: the reason and the place are told, the half file is gone."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
    code, _, err = submit(down, "a@x.test", text=b"0123456789\n" * 20000, preexec_fn=limit)
    assert code == 75
    assert "queue file write error: " + down.queue + "/maildrop/" in err
    assert "File too large" in err
    assert down.queue_files() == []


def test_signal_leaves_nothing(down, scratch):
    child = subprocess.Popen(down.argv("sendmail", "a@x.test"), stdin=subprocess.PIPE, env=down.env)
    child.stdin.write(b"0123456789\n" * 20000)
    child.stdin.flush()
    child.send_signal(signal.SIGTERM)
    assert child.wait() in (75, -signal.SIGTERM)
    child.stdin.close()
    assert down.queue_files() == []


def test_no_spool(down):
    down.write_config(queue_directory="/nonexistent/spool")
    code, _, err = submit(down, "a@x.test")
    assert code == 75 and "open queue directory /nonexistent/spool: No such file" in err


def test_size_limit(down):
    down.write_config(message_size_limit="1000")
    assert content(drop(down, "a@x.test", text=b"x" * 998)) == b"x" * 998 + b"\n"
    code, _, err = submit(down, "a@x.test", text=b"x" * 999)
    assert code == 65 and "message file too big (message_size_limit is 1000)" in err
    assert down.queue_files() == []


def test_memory_of_a_big_mail(down):
    """50 MB pass in a few buffers."""
    down.write_config(message_size_limit="0")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (24 << 20, 24 << 20))
    code, _, err = submit(down, "a@x.test", text=b"y" * 76 + b"\n" + (b"x" * 76 + b"\n") * 680000,
                          preexec_fn=None if os.environ.get("PENNYPOST_SANITIZE") else limit)
    assert (code, err) == (0, "") and before >= 0
    (path,) = down.queue_files()
    assert os.path.getsize(os.path.join(down.queue, path)) > 50 << 20


BS = [
    ("", "220 "),
    ("helo\r\n", "501 Syntax: HELO hostname"),
    ("EHLO me\r\n", "250-"),
    ("RCPT TO:<a@x.test>\r\n", "503 5.5.1 Error: need MAIL command"),
    ("DATA\r\n", "503 5.5.1 Error: need RCPT command"),
    ("MAIL FROM\r\n", "501 5.5.4 Syntax: MAIL FROM:<address>"),
    ("MAIL FROM:<s@x.test> SIZE=99999999999\r\n", "552 5.3.4 Message size exceeds fixed limit"),
    ("MAIL FROM:<s@x.test> FOO=1\r\n", "555 5.5.4 Unsupported option: FOO=1"),
    ("MAIL FROM:<s@x.test> BODY=8BITMIME RET=HDRS ENVID=e1\r\n", "250 2.1.0 Ok"),
    ("MAIL FROM:<s@x.test>\r\n", "503 5.5.1 Error: nested MAIL command"),
    ("RCPT TO:<>\r\n", "501 5.1.3 Bad recipient address syntax"),
    ("RCPT TO:<a@x.test> NOTIFY=DELAY ORCPT=rfc822;o@y.test\r\n", "250 2.1.5 Ok"),
    ("rcpt to:<\"q w\"@x.test>\r\n", "250 2.1.5 Ok"),
    ("VRFY a@x.test\r\n", "252 2.0.0 a@x.test"),
    ("NOOP x\r\n", "250 2.0.0 Ok"),
    ("RSET x\r\n", "501 5.5.4 Syntax: RSET"),
    ("GET /\r\n", "500 5.5.2 Error: command not recognized"),
    ("x" * 5000 + "\r\n", "500 5.5.2 Error: bad syntax"),
    ("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>"),
    ("Subject: x\r\n\r\n..dot\r\nend\r\n.\r\n", "250 2.0.0 Ok: queued as "),
    ("RSET\r\n", "250 2.0.0 Ok"),
    ("QUIT\r\n", "221 2.0.0 Bye"),
]


def test_dialog(down):
    code, out, err = submit(down, "-bs", text="".join(said for said, _ in BS).encode())
    assert (code, err) == (0, "")
    lines = [line for line in out.split("\r\n") if line]
    first = [line for line in lines if not line.startswith("250-")]
    ehlo = [line[4:] for line in lines[2:8]]
    assert ehlo[1:] == ["PIPELINING", "SIZE 10240000", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN"]
    wanted = [reply if reply != "250-" else "250 DSN" for _, reply in BS]
    assert len(first) == len(wanted), out
    for got, want in zip(first, wanted):
        assert got.startswith(want)
    got = dropped(down)
    assert got[1:] == [
        ("A", b"envelope_id=e1"), ("A", b"ret_flags=2"), ("A", b"rewrite_context=local"), ("F", b""),
        ("S", b"s@x.test"), ("A", b"encoding=8bit"), ("A", b"notify_flags=8"),
        ("A", b"dsn_orig_rcpt=rfc822;o@y.test"), ("R", b"a@x.test"), ("R", b"q w@x.test"), ("M", b""),
        ("N", b"Subject: x"), ("N", b""), ("N", b".dot"), ("N", b"end"), ("X", b""), ("E", b"")]


def test_dialog_that_breaks_off(down):
    start = b"HELO me\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n"
    code, _, _ = submit(down, "-bs", text=start + b"half\r\n")
    assert code == 74
    assert down.queue_files() == []
    code, out, _ = submit(down, "-bs", text=b"nonsense\r\n" * 50)
    assert code == 0 and "421 4.7.0 " in out
    down.write_config(message_size_limit="100")
    code, out, _ = submit(down, "-bs", text=start + b"x" * 200 + b"\r\n.\r\nQUIT\r\n")
    assert code == 0 and "552 5.3.4 Error: message file too big" in out
    assert down.queue_files() == []


def test_a_field_nobody_understands_is_told(down):
    done = down.command("sendmail", "-t", input='To: a@x.test\nCc: "foo\n\nhello\n')
    assert done.returncode == 0
    assert 'no address is understood in "Cc: "foo"' in done.stderr


def test_a_field_empty_on_purpose_is_not(down):
    done = down.command("sendmail", "-t",
                        input="To: a@x.test\nCc: undisclosed-recipients:;\nBcc:\n\nhello\n")
    assert (done.returncode, done.stderr) == (0, "")
