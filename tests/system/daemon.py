"""daemon.py - start, stop, reload, status, check; signals; two daemons; any uid; no main.cf."""

import fcntl
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT, run


def pennypost(scratch, sink=None, **main):
    system = pp_harness.Pennypost(scratch, **main)
    return system.relay_to(sink) if sink else system


def test_sigterm_ends_cleanly(scratch, sink):
    system = pennypost(scratch, sink).start()
    system.wait_removed(system.send("user@dest.test"))
    system.stop()
    assert system.log.find(r"master\[\d+\]: terminating on signal 15")
    assert system.log.find(r"master\[\d+\]: daemon started -- version ")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", system.port), 5)
    assert not os.path.exists(os.path.join(system.queue, "public/pennypost"))


def test_sigterm_tells_its_clients(scratch, sink):
    system = pennypost(scratch, sink).start()
    client = system.client()
    client.ehlo()
    system.process.send_signal(signal.SIGTERM)
    code, _ = client.getreply()
    assert code == 421
    assert system.wait_exit() == 0


def test_sigterm_leaves_unfinished_mail_in_the_spool(scratch):
    """The receiver is silent after DATA: the delivery is broken off at the deadline and kept."""
    asked = []
    sink = pp_peers.Sink(scratch, extensions=("8BITMIME",),
                         answer=lambda verb, _: asked.append(verb) or ("354-silence" if verb == "DATA"
                                                                       else None))
    system = pennypost(scratch, sink, shutdown_timeout="1s").start()
    queue_id = system.send("user@dest.test")
    system.log.wait_for(rf"{queue_id}: from=.*queue active")
    system.stop()
    assert [os.path.basename(f) for f in system.queue_files()] == [queue_id]
    sink.answer = None
    system.start()
    system.wait_removed(queue_id)  # nobody has failed


def test_a_failure_before_a_stop_stays_one(scratch):
    """The next start does not try at once what has just failed, though it was on its way to deferred."""
    system = pennypost(scratch, relayhost=f"[127.0.0.1]:{scratch.port()}").start()
    queue_id = system.send("user@dest.test")
    system.wait_status("user@dest.test", "deferred")
    system.stop()
    [path] = system.queue_files()
    assert path.startswith("deferred/") and path.endswith(queue_id)
    assert os.stat(f"{system.queue}/{path}").st_mtime > time.time() + 200


def test_sighup_takes_the_new_configuration(scratch, sink):
    system = pennypost(scratch, relayhost=f"[127.0.0.1]:{scratch.port()}").start()
    queue_id = system.send("user@dest.test")
    system.wait_status("user@dest.test", "deferred")
    system.relay_to(sink)
    system.reload()
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_status_is_for_everybody_and_stop_is_not(scratch, sink):
    system = pennypost(scratch, sink).start()
    other = {"user": 12345, "group": 12345, "extra_groups": []}
    done = system.command("status", **other)
    assert done.returncode == 0 and f"pid {system.pid()}" in done.stdout
    done = system.command("stop", **other)
    assert done.returncode == 1 and "Operation not permitted" in done.stderr
    assert system.is_up()
    done = system.command("status", "nonsense")
    assert done.returncode == 64 and "usage:" in done.stderr


def test_start_says_why_not_where_the_log_is_stdout(scratch, sink):
    """In the background that log leads nowhere; whoever started it still has to learn of it."""
    system = pennypost(scratch, sink).start()
    done = system.command("start")
    assert done.returncode == 1
    assert f"in use by the mail system with pid {system.pid()}" in done.stderr
    assert "the log goes to standard output" in done.stderr


def test_ready_goes_to_any_descriptor(scratch, sink):
    """Whoever starts it may have many open; only the number is ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    many = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        pennypost(scratch, sink).start().stop()
    finally:
        for fd in many:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_stop_from_outside_a_container(scratch, sink):
    """In there the daemon is number 1: the signal must reach it, not our own init."""
    container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if run([*container, "true"]).returncode != 0:
        pytest.skip("no PID namespace can be made here (not root, a chroot, a container)")
    system = pennypost(scratch, sink, wrapper=container).start()
    assert "pid 1\n" in system.must("status")
    system.must("stop")
    assert system.wait_exit() == 0
    system.log.wait_for(r"terminating on signal 15")


@pytest.mark.skipif(os.geteuid() != 0, reason="the lock is root's")
def test_stop_spares_a_stranger_with_the_lock(scratch, sink):
    system = pennypost(scratch, sink).start()
    system.stop()
    with open(os.path.join(system.queue, "pid/master.pid"), "r+", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stranger, _ = scratch.start(["cat"], "stranger", stdin=subprocess.PIPE)
        lock.write(f"{stranger.pid:32d}\n")
        lock.flush()
        done = system.command("stop")
        assert done.returncode == 1 and f"held by pid {stranger.pid}" in done.stderr
        assert stranger.poll() is None


def test_reload_finds_a_relative_configuration_directory(scratch, sink):
    system = pennypost(scratch, relayhost=f"[127.0.0.1]:{scratch.port()}")
    whole, system.config = system.config, os.path.relpath(system.config, scratch.path)
    system.spawn()
    system.config = whole
    system.wait_ready()
    system.relay_to(sink)
    system.reload()
    system.wait_removed(system.send("user@dest.test"))


def test_reload_with_an_error_keeps_the_old_configuration(scratch, sink):
    system = pennypost(scratch, sink).start()
    mark = system.log.mark()
    system.write_config(message_size_limit="many")
    system.process.send_signal(signal.SIGHUP)
    system.log.wait_for(r"main\.cf.*line \d+.*message_size_limit", since=mark)
    system.wait_removed(system.send("user@dest.test"))
    done = system.command("reload")
    assert done.returncode != 0 and "message_size_limit" in done.stderr + done.stdout


@pytest.mark.parametrize("name, value", [
    ("hash_queue_names", "deferred"), ("hash_queue_depth", "2"), ("enable_long_queue_ids", "yes"),
    ("message_cache_size", "0"), ("workers", "1"), ("queue_directory", "/nonexistent/spool")])
def test_reload_tells_what_it_cannot_change(scratch, sink, name, value):
    system = pennypost(scratch, sink, workers="2").start()
    mark = system.log.mark()
    system.write_config(**{name: value})
    system.process.send_signal(signal.SIGHUP)
    system.log.wait_for(rf"warning: {name}.* takes effect at the next start", since=mark)
    system.wait_removed(system.send("user@dest.test"))


def test_commands_start_status_reload_stop(scratch, sink):
    log = os.path.join(scratch.path, "mail.log")
    port = scratch.port()
    system = pp_harness.Pennypost(scratch, services=f"127.0.0.1:{port} inet n - n - - smtpd\n",
                                  maillog_file=log, maillog_file_prefixes="/tmp, /var")
    system.relay_to(sink)
    assert system.command("status").returncode != 0
    system.must("check")
    system.must("start")  # returns when the port answers
    system.port = port
    try:
        assert system.send("user@dest.test")
        sink.wait(1)
        status = system.must("status")
        pid = int(re.search(r"\d+", status).group(0))
        os.kill(pid, 0)
        system.must("reload")
        done = system.command("start")
        assert done.returncode != 0 and str(pid) in done.stderr
    finally:
        system.must("stop")
    try:  # where nobody waits for orphans a dead one stays as a zombie
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            assert file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        pass
    assert system.command("stop").returncode != 0
    with open(log, encoding="utf-8") as file:
        assert "status=sent" in file.read()


def test_second_daemon_names_the_first(scratch, sink):
    system = pennypost(scratch, sink).start()
    code, said = pp_harness.Pennypost(scratch, name="pp2", queue_directory=system.queue).fails()
    assert code != 0
    assert str(system.pid()) in said and "fatal" in said


def test_port_in_use(scratch, sink):
    code, said = pp_harness.Pennypost(
        scratch, services=f"127.0.0.1:{sink.port} inet n - n - - smtpd\n").fails()
    assert code != 0
    assert re.search(rf"fatal: .*127\.0\.0\.1:{sink.port}.*Address already in use", said), said


def test_several_listeners_with_options(scratch, sink):
    system = pp_harness.Pennypost(scratch, services=(
        "127.0.0.1:0 inet n - n - - smtpd\n"
        f"127.0.0.1:{scratch.port()} inet n - n - - smtpd\n"
        "  -o message_size_limit=1000\n"))
    system.relay_to(sink).start()
    assert len(system.ports) == 2
    system.wait_removed(system.send("user@dest.test"))
    system.port = system.ports[1]
    client = system.client()
    client.ehlo()
    assert client.esmtp_features["size"] == "1000"


def test_runs_without_any_main_cf(scratch):
    """The spool and the control socket are then found below the working directory."""
    if os.path.exists("/etc/pennypost"):
        pytest.skip("this machine has a configuration")
    os.chmod(scratch.path, 0o777)
    system = pp_harness.Pennypost(scratch, env={"POSTFIX_maillog_file": "/dev/stdout",
                                                "POSTFIX_inet_protocols": "ipv4"})
    system.config = None
    system.user = "nobody" if os.geteuid() == 0 else None
    before = set(os.listdir(scratch.path))
    system.spawn().wait_ready()
    assert system.port == 2525
    assert set(os.listdir(scratch.path)) - before, "no spool below the working directory"
    client = system.client()
    client.ehlo()
    assert client.mail("a@client.test")[0] == 250
    assert client.rcpt("b@dest.test")[0] == 250
    system.stop()


def test_runs_as_an_ordinary_user(scratch, sink, root):
    home = scratch.dir("home", 0o777)
    system = pp_harness.Pennypost(scratch, user="nobody", queue_directory=f"{home}/spool",
                                  data_directory=f"{home}/data", mail_owner="nobody")
    system.main["data_directory"] = f"{home}/data"
    system.relay_to(sink).start()
    assert os.stat(f"/proc/{system.pid()}").st_uid == pwd.getpwnam("nobody").pw_uid
    system.wait_removed(system.send("user@dest.test"))
    done = system.command("sendmail", "-f", "me@client.test", "you@dest.test", input="\nhi\n",
                          user="nobody", group="nogroup", extra_groups=[])
    assert done.returncode == 0, done.stderr
    sink.wait(2)
    done = system.command("mailq", user="nobody", group="nogroup", extra_groups=[])
    assert done.returncode == 0, done.stderr


def test_environment_sets_parameters(scratch, sink):
    secret = scratch.file("size", "4321\n")
    system = pp_harness.Pennypost(scratch, env={"POSTFIX_relayhost": f"[127.0.0.1]:{sink.port}",
                                                "MESSAGE_SIZE_LIMIT_FILE": secret},
                                  relayhost="[127.0.0.1]:1").start()
    client = system.client()
    client.ehlo()
    assert client.esmtp_features["size"] == "4321"
    system.wait_removed(system.send("user@dest.test"))


@pytest.mark.parametrize("is_setgid", [True, False])
def test_directories_and_their_modes(scratch, sink, root, is_setgid):
    """Closed to all but the group only where the program is set-gid to it."""
    binary = os.path.join(scratch.path, "pennypost")
    shutil.copy(pp_harness.Pennypost(scratch).binary, binary)
    if is_setgid:
        shutil.chown(binary, group="postdrop")
        os.chmod(binary, 0o2755)
    system = pennypost(scratch, sink, binary=binary).start()

    def mode(name):
        info = os.stat(os.path.join(system.queue, name))
        return stat.S_IMODE(info.st_mode), pwd.getpwuid(info.st_uid).pw_name
    for name in ("incoming", "active", "deferred", "hold", "corrupt", "defer", "bounce"):
        assert mode(name) == (0o700, "postfix"), name
    assert mode("maildrop") == (0o1730 if is_setgid else 0o1733, "postfix")
    assert mode("public") == (0o2710 if is_setgid else 0o711, "postfix")


def test_usage(scratch):
    system = pp_harness.Pennypost(scratch)
    for arguments in ([], ["nonsense"], ["run", "--nonsense"]):
        done = pp_harness.run([system.binary, "-c", system.config, *arguments])
        assert done.returncode not in (0, 99) and done.returncode < 100, arguments
        assert re.search("usage|no such command", done.stderr), arguments


def test_start_recovers_active_mail(scratch):
    """kill -9 leaves mail in active: the next start delivers it."""
    gate = {"CONNECT": "421 busy"}
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: gate.get(verb))
    system = pennypost(scratch, sink).start()
    ids = [system.send(f"user{i}@dest.test") for i in range(5)]
    for path in ids:
        system.wait_deferred(path)
    system.kill()
    for path in system.queue_files("deferred"):
        os.rename(os.path.join(system.queue, path),
                  os.path.join(system.queue, "active", os.path.basename(path)))
    gate.clear()
    system.start()
    for queue_id in ids:
        system.wait_removed(queue_id, timeout=TIMEOUT)
    assert len(sink.mails) == 5


def test_closed_standard_descriptors(scratch, sink):
    """The next file would be standard error: what is said would go into it."""
    closed = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-']
    system = pp_harness.Pennypost(scratch, wrapper=closed).log_to_file().relay_to(sink).start()
    assert [os.readlink(f"/proc/{system.process.pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
    system.wait_removed(system.send("you@dest.test"))
