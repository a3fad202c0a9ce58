"""rights.py - authorized_mailq_users, authorized_flush_users and authorized_submit_users: said by the
commands in Postfix's words, and kept by the daemon against whoever goes round them."""

import os
import shutil
import subprocess
import time

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT

NOBODY, STRANGER = 65534, 54321


def is_ours(system):
    return isinstance(system, pp_harness.Pennypost)


def somebody(system, uid):
    return {"user": uid, "group": "nogroup" if is_ours(system) else "postdrop", "extra_groups": []}


@pytest.fixture
def system(scratch, root):
    """One mail is in deferred."""
    system = pp_harness.system_under_test(scratch, fast_flush_domains="one.test")
    system.relay_to(pp_peers.Sink(
        scratch, answer=lambda verb, _: "450 4.2.0 later" if verb == "RCPT" else None)).start()
    system.deferred = system.send("user@one.test")
    system.wait_deferred(system.deferred)
    return system


def set_users(system, users):
    system.write_config(**{f"authorized_{what}_users": users for what in ("mailq", "flush", "submit")})
    system.reload()


def refusal(name, uid, what):
    return f"User {name}({uid}) is not allowed to {what}"


def lists(scratch):
    """Text of a list -> whether nobody may, whether a user without a name may."""
    users = scratch.file("users", "# who\nnobody\n  daemon\n")
    others = scratch.file("others", "!nobody\nstatic:all\n")
    table = scratch.file("table", "nobody x\n")
    return [
        ("static:anyone", True, True),
        ("static:none", True, True),
        ("", False, False),
        ("nobody", True, False),
        ("daemon, NoBody", True, False),
        ("!nobody, static:all", False, True),
        ("!nobody", False, False),
        ("unknown", False, True),
        ("!unknown, static:all", True, False),
        (users, True, False),
        (f"!{users} static:all", False, True),
        (others, False, True),
        (f"texthash:{table}", True, False),
        (f"!texthash:{table}, static:x", False, True),
        ("root, 65534, .obody body", False, False),
    ]


def test_lists(system, scratch):
    for text, nobody, stranger in lists(scratch):
        set_users(system, text)
        for uid, name, may in ((NOBODY, "nobody", nobody), (STRANGER, "unknown", stranger)):
            for option, what in (("-p", "view the mail queue"), ("-f", "flush the mail queue")):
                done = system.command("postqueue", option, **somebody(system, uid))
                want = "" if may else f"postqueue: fatal: {refusal(name, uid, what)}\n"
                assert (text, uid, option, done.returncode, done.stderr) \
                    == (text, uid, option, 0 if may else 69, want)
                assert bool(done.stdout) == (may and option == "-p")


def test_each_order(system):
    """What is wrong in itself is said first, then who may not, then what is not configured."""
    set_users(system, "root")
    flush, view = (refusal("nobody", NOBODY, f"{what} the mail queue") for what in ("flush", "view"))
    cases = [
        (["-p"], view), (["-j"], view), (["-f"], flush), (["-i", system.deferred], flush),
        (["-i", "NOSUCH"], flush), (["-s", "one.test"], flush), (["-s", "none.test"], flush),
        (["-i", "bad/x"], 'Cannot flush queue ID - invalid name: "bad/x"'),
        (["-s", "bad..x"], 'Cannot flush mail queue - invalid destination: "bad..x"'),
    ]
    for state in ("up", "down"):
        for options, want in cases:
            done = system.command("postqueue", *options, **somebody(system, NOBODY))
            assert (options, done.returncode, done.stdout, done.stderr) \
                == (options, 69, "", f"postqueue: fatal: {want}\n")
        if state == "up":
            for user in ("root", "postfix"):
                for options in (["-p"], ["-j"], ["-f"], ["-i", system.deferred], ["-s", "one.test"]):
                    done = system.command("postqueue", *options, **somebody(system, user))
                    assert (user, options, done.returncode, done.stderr) == (user, options, 0, "")
            system.stop()


def test_unreadable_list(system):
    """Nobody is let in by a list that cannot be read."""
    system.write_config(authorized_mailq_users="/nonexistent/users")
    done = system.command("postqueue", "-p", **somebody(system, NOBODY))
    assert (done.returncode, done.stdout) == (69, "")
    assert "/nonexistent/users: No such file or directory" in done.stderr
    assert system.command("postqueue", "-p").returncode == 0


def ask(system, path, order, uid):
    """What the daemon sends to a program of that user that speaks for itself."""
    script = ("import os, socket, sys\n"
              f"os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
              "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
              "if sys.argv[2]: s.send(sys.argv[2].encode())\n"
              "while (b := s.recv(65536)): sys.stdout.buffer.write(b)\n")
    done = subprocess.run(["/usr/bin/python3", "-c", script, os.path.join(system.queue, path), order],
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_daemon_asks_itself(system):
    if not is_ours(system):
        pytest.skip("Postfix trusts the group of its commands")
    orders = (("list", "view"), ("flush", "flush"), (f"flush-id {system.deferred}", "flush"),
              ("flush-site one.test", "flush"))
    set_users(system, "nobody")
    mark = system.log.mark()
    for uid, name in ((STRANGER, "unknown"), (2, "bin")):
        for order, what in orders:
            assert ask(system, "public/pennypost", f"{order}\n", uid).decode() \
                == f"error {refusal(name, uid, f'{what} the mail queue')}\n"
        assert ask(system, "public/showq", "", uid) == b""
    assert not system.log.find(r"to=<user@one\.test>", since=mark)
    for uid in (NOBODY, 0, os.stat(system.queue + "/incoming").st_uid):
        assert b"user@one.test" in ask(system, "public/pennypost", "list\n", uid)
        assert b"user@one.test" in ask(system, "public/showq", "", uid)
        assert ask(system, "public/pennypost", f"flush-id {system.deferred}\n", uid) == b""
    system.log.wait_for(r"to=<user@one\.test>.*status=deferred", since=mark)


def test_own_configuration_does_not_help(system, scratch):
    """The command believes the configuration it is given, the daemon its own."""
    if not is_ours(system):
        pytest.skip("Postfix's set-gid commands refuse such a configuration")
    set_users(system, "root")
    mine = scratch.dir("mine")
    for name in ("main.cf", "master.cf"):
        shutil.copy(os.path.join(system.config, name), mine)
    with open(f"{mine}/main.cf", "a", encoding="ascii") as file:
        file.write("authorized_mailq_users = nobody\nauthorized_flush_users = nobody\n")
    for option, what in (("-p", "view"), ("-j", "view"), ("-f", "flush")):
        done = system.command("postqueue", "-c", mine, option, **somebody(system, NOBODY))
        assert (done.returncode, done.stdout, done.stderr) == (69, "", "postqueue: fatal: " + refusal(
            "nobody", NOBODY, f"{what} the mail queue") + "\n")


def test_postqueue_of_postfix(system, scratch):
    """It asks its own main.cf first. Where that lets a user in and ours does not, it gets no list."""
    if not is_ours(system):
        pytest.skip("it is about ours")
    config = pp_harness.postfix_tools_config(scratch, system.queue)
    who = {"user": "nobody", "group": "postdrop", "extra_groups": []}
    done = pp_harness.postfix_tool(config, "postqueue", "-p", **who)
    assert (done.returncode, done.stderr) == (0, "") and "user@one.test" in done.stdout
    set_users(system, "!nobody, static:all")
    done = pp_harness.postfix_tool(config, "postqueue", "-p", **who)
    assert (done.returncode, done.stdout) == (69, "")
    assert "fatal: malformed showq server response" in done.stderr
    assert "user@one.test" in pp_harness.postfix_tool(config, "postqueue", "-p").stdout


def submit(system, uid, *options):
    argv = system.argv("sendmail") if is_ours(system) else [f"{pp_harness.POSTFIX_SBIN}/sendmail"]
    return subprocess.run([*argv, *options], input=b"To: a@one.test\n\nx\n", capture_output=True,
                          check=False, env=dict(os.environ, MAIL_CONFIG=system.config),
                          **somebody(system, uid))


def test_submission(system):
    set_users(system, "!nobody, static:all")
    for options in (["a@one.test"], ["-t"], ["-bs"], []):
        done = submit(system, NOBODY, *options)
        assert done.returncode == (77 if is_ours(system) else 75)
        assert done.stderr.decode() \
            == f"sendmail: fatal: {refusal('nobody', NOBODY, 'submit mail')}\n"
    assert submit(system, 2, "a@one.test").returncode == 0
    assert submit(system, 0, "a@one.test").returncode == 0


def test_root_and_owner_always_submit(system):
    if not is_ours(system):
        pytest.skip("Postfix asks its list for them as well")
    set_users(system, "")
    owner = os.stat(system.queue + "/incoming").st_uid
    for uid in (0, owner):
        mark = system.log.mark()
        assert submit(system, uid, f"u{uid}@one.test").returncode == 0
        system.log.wait_for(rf"pickup\[\d+\]: \w+: uid={uid} ", since=mark)


def test_pickup_asks_who_owns_a_file(system):
    """Without a set-gid program everybody may put files into maildrop: their owner counts."""
    if not is_ours(system):
        pytest.skip("Postfix's maildrop is closed")
    for users, taken in (("!nobody, static:all", False), ("nobody", True)):
        set_users(system, users)
        mark = system.log.mark()
        done = submit_by_hand(system)
        assert done.returncode == 0, done.stderr
        system.must("postqueue", "-f")
        if taken:
            system.log.wait_for(rf"pickup\[\d+\]: \w+: uid={NOBODY} from=<s@x\.test>", since=mark)
        else:
            system.log.wait_for(
                rf"pickup\[\d+\]: warning: maildrop/ABCDE1234 from uid {NOBODY}: User nobody\({NOBODY}\) "
                "is not allowed to submit mail: saving the file in corrupt", since=mark)
            path = os.path.join(system.queue, "corrupt", "ABCDE1234")
            deadline = time.monotonic() + TIMEOUT
            while not os.path.exists(path):  # it is said first
                assert time.monotonic() < deadline
            assert os.stat(path).st_uid == NOBODY
            os.unlink(path)


def submit_by_hand(system):
    script = ("import os, sys\n"
              "os.umask(0)\n"
              "fd = os.open(sys.argv[1], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)\n"
              "os.write(fd, b'S\\x08s@x.testR\\x0au@one.testM\\x00N\\x01xX\\x00E\\x00')\n"
              "os.fchmod(fd, 0o744)\n")
    return subprocess.run(["/usr/bin/python3", "-c", script, f"{system.queue}/maildrop/ABCDE1234"],
                          capture_output=True, check=False, **somebody(system, NOBODY))


def test_set_gid(system, scratch):
    """Set-gid, it takes the configuration of the system or one that this names, nobody else's."""
    if not is_ours(system) or os.environ.get("PENNYPOST_SANITIZE"):
        pytest.skip("it is about ours, and sanitizers do not run set-gid")
    binary = os.path.join(scratch.dir("bin"), "postqueue")
    shutil.copy(system.binary, binary)
    os.chown(binary, 0, pp_harness.gid_of("postfix"))
    os.chmod(binary, 0o2755)
    done = subprocess.run([binary, "-c", system.config, "-p"], capture_output=True, check=False,
                          text=True, **somebody(system, NOBODY))
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith(
        f"postqueue: error: unauthorized configuration directory name: {system.config}\n"
        f'postqueue: fatal: specify "alternate_config_directories = {system.config}" in ')
