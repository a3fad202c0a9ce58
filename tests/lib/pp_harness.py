"""pp_harness.py - the mail system under test, as a process in a scratch folder.

Pennypost and a real Postfix have the same face here (start, stop, smtp port, log, command), because
they have the same configuration: PENNYPOST_SUT=postfix runs tests against the original.
"""

import atexit
import functools
import os
import pwd
import re
import shutil
import signal
import smtplib
import subprocess
import tempfile
import time

import pp_sanitizer
from pp_scratch import BUILD, TIMEOUT, must, run

POSTFIX_SBIN = "/usr/sbin"
POSTFIX_LIBEXEC = "/usr/lib/postfix/sbin"


@functools.lru_cache(None)
def default_binary():
    """The program where every user can run it: a checkout may lie in root's own folder."""
    binary, folder = os.path.join(BUILD, "pennypost"), BUILD
    while os.stat(folder).st_mode & 1:
        if folder == "/":
            return binary
        folder = os.path.dirname(folder)
    if os.geteuid() != 0:
        return binary
    copy = tempfile.mkdtemp(prefix="pp-bin-")
    atexit.register(shutil.rmtree, copy, True)
    os.chmod(copy, 0o755)
    shutil.copy(binary, copy)
    for name in os.listdir(BUILD):
        if os.path.islink(os.path.join(BUILD, name)):
            os.symlink("pennypost", os.path.join(copy, name))
    return os.path.join(copy, "pennypost")


def gid_of(user):
    return pwd.getpwnam(user).pw_gid


def config_text(values):
    return "".join(f"{name} = {value}\n" for name, value in values.items() if value is not None)


class System:
    """What pennypost and Postfix have in common."""

    def __init__(self, scratch, name, master, main, queue_directory=None):
        self.scratch = scratch
        self.name = name
        self.config = scratch.dir(f"{name}-etc")
        # Both lock and clean it: a spool may be handed from one to the other.
        self.queue = queue_directory or os.path.join(scratch.path, f"{name}-spool")
        self.main = {
            "compatibility_level": "3.6",
            "queue_directory": self.queue,
            "data_directory": os.path.join(scratch.path, f"{name}-data"),
            "maillog_file": "/dev/stdout",
            "syslog_name": "postfix",
            "myhostname": f"{name}.pennypost.test",
            "mydomain": "pennypost.test",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8 [::1]/128",
            "inet_interfaces": "loopback-only",
            "inet_protocols": "ipv4",
            "smtp_tls_security_level": "none",
        }
        self.main.update(main)
        self.master = master
        self.process = None
        self.output = None
        self.log = None
        self.logfile = None
        self.port = None
        self.write_config()

    def write_config(self, **changes):
        """Sets parameters (None removes one) and writes both files."""
        self.main.update(changes)
        self.scratch.file(f"{self.config}/main.cf", config_text(self.main))
        self.scratch.file(f"{self.config}/master.cf", self.master)

    def relay_to(self, *peers):
        self.write_config(relayhost=", ".join(f"[127.0.0.1]:{p.port}" for p in peers))
        return self

    def client(self, timeout=None):
        """An SMTP session, closed with the test."""
        client = smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.test",
                              timeout=timeout or TIMEOUT)
        self.scratch.on_exit(client.close)
        return client

    def send(self, to, sender="sender@client.test", body="hello\r\n", subject="test", client=None):
        """Sends one mail by SMTP; returns its queue id."""
        session = client or self.client()
        if client is None or not session.ehlo_resp:
            session.ehlo()
        to = [to] if isinstance(to, str) else to
        text = (f"From: <{sender}>\r\nTo: <{to[0]}>\r\nSubject: {subject}\r\n"
                f"Message-ID: <{subject.replace(' ', '.')}@client.test>\r\n"
                f"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\n\r\n{body}")
        code, answer = session.mail(sender)
        assert code == 250, answer
        for recipient in to:
            code, answer = session.rcpt(recipient)
            assert code == 250, answer
        code, answer = session.data(text.encode("utf-8", "surrogateescape"))
        assert code == 250, answer
        if client is None:
            session.quit()
        match = re.search(rb"queued as (\w+)", answer)
        assert match, answer
        return match.group(1).decode()

    def wait_status(self, to, status, since=0, timeout=None):
        """The log line of a delivery as a match with id, relay, dsn and text."""
        return self.log.wait_for(rf": (?P<id>\w+): to=<{re.escape(to)}>, .*relay=(?P<relay>[^,]+), "
                                 rf".*dsn=(?P<dsn>[\d.]+), status={status} \((?P<text>.*)\)",
                                 since=since, timeout=timeout)

    def wait_removed(self, queue_id, since=0, timeout=None):
        return self.log.wait_for(rf"qmgr\[\d+\]: {queue_id}: removed", since=since, timeout=timeout)

    def wait_empty(self, timeout=TIMEOUT):
        """The daemon has nothing to do any more."""
        end = time.monotonic() + timeout
        while "Mail queue is empty" not in self.must("postqueue", "-p"):
            assert time.monotonic() < end, self.must("postqueue", "-p")

    def queue_files(self, *queues):
        """Regular files of the queues, by path below the queue directory."""
        found = []
        for queue in queues or ("maildrop", "incoming", "active", "deferred", "hold", "corrupt"):
            for folder, _, names in os.walk(os.path.join(self.queue, queue)):
                found += [os.path.relpath(os.path.join(folder, n), self.queue) for n in names]
        return sorted(found)

    def is_up(self):
        return self.process is not None and self.process.poll() is None

    def log_to_file(self):
        """For programs that read the log: it goes to a file, and tests follow that."""
        self.logfile = self.scratch.file(f"{self.name}.log", "", 0o666)
        self.write_config(maillog_file=self.logfile, maillog_file_prefixes="/tmp, /dev")
        return self

    def _started(self, argv, **options):
        self.process, self.output = self.scratch.start(argv, self.name, **options)
        self.log = self.output
        if self.logfile:
            _, self.log = self.scratch.start(["tail", "-n", "+1", "-F", self.logfile],
                                             f"{self.name}.log")

    def wait_exit(self, timeout=None):
        code = self.process.wait(timeout or TIMEOUT)
        self.output.thread.join(TIMEOUT)
        return code

    def stop(self, timeout=None):
        """SIGTERM; the exit code has to be 0."""
        self.process.send_signal(signal.SIGTERM)
        code = self.wait_exit(timeout)
        assert code == 0, f"{self.name} exited {code}\n{self.log.tail()}"

    def kill(self):
        self.process.kill()
        self.process.wait()


SMTPD = "127.0.0.1:0 inet n - n - - smtpd\n"
TRANSPORTS = "smtp unix - - n - - smtp\nrelay unix - - n - - smtp\n"


class Pennypost(System):
    """build/pennypost -c DIR run"""

    def __init__(self, scratch, name="pp", services=SMTPD,
                 queue_directory=None, binary=None, wrapper=(), env=None, user=None, **main):
        super().__init__(scratch, name, services + TRANSPORTS, main, queue_directory)
        self.binary = binary or default_binary()
        self.wrapper = list(wrapper)
        self.env = dict(os.environ, **(env or {}))
        self.env.pop("MAIL_CONFIG", None)
        self.user = user
        self.ready = None
        self.events = None
        self.ports = []

    def spawn(self):
        """Starts without waiting for anything."""
        ready, their_ready = os.pipe()
        self.ready = os.fdopen(ready, "rb")
        self.scratch.on_exit(self.ready.close)
        config = ["-c", self.config] if self.config else []
        argv = self.wrapper + [self.binary, *config, "run", "--ready-fd", str(their_ready)]
        self._started(argv, pass_fds=[their_ready], env=self.env, cwd=self.scratch.path,
                      user=self.user, group=self.user and gid_of(self.user),
                      extra_groups=[] if self.user else None)
        os.close(their_ready)
        if pp_sanitizer.FOLDER:
            self.scratch.on_exit(self.stop_if_it_will)
        return self

    def wait_ready(self):
        """Reads "listening ADDRESS SERVICE" lines up to "ready"."""
        self.ports = []
        for raw in self.ready:
            words = raw.decode().split()
            if words == ["ready"]:
                break
            assert words[0] == "listening", words
            self.ports.append(int(words[1].rsplit(":", 1)[1]))
        else:
            self.wait_exit()
            raise AssertionError(f"{self.name} did not get ready\n{self.log.tail()}")
        if self.ports:
            self.port = self.ports[0]
        return self

    def start(self):
        self.spawn().wait_ready()
        _, self.events = self.scratch.start(self.argv("events"), f"{self.name}-events", env=self.env)
        self.events.wait_for("^watching$")
        return self

    def stop_if_it_will(self):
        """Only who ends by itself can tell what it has leaked."""
        if self.is_up():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass

    def wait_deferred(self, queue_id, count=1):
        """The file is in deferred now; the log says so before that."""
        self.events.wait_for(f"^deferred {queue_id}$", count=count)

    def fails(self):
        """For a configuration that must be refused: (exit code, all it said)."""
        self.spawn()
        code = self.wait_exit()
        return code, "\n".join(self.log.lines)

    def argv(self, command, *arguments):
        """Every command as a link of the build tree; pennypost's own by its name."""
        path = os.path.join(os.path.dirname(self.binary), command)
        option = "-C" if command == "sendmail" else "-c"
        if command == "mailq":
            return [path, "-C", self.config, *arguments]
        if os.path.exists(path):
            return [path, option, self.config, *arguments]
        return [self.binary, "-c", self.config, command, *arguments]

    def command(self, command, *arguments, **options):
        options.setdefault("env", self.env)
        return run(self.argv(command, *arguments), **options)

    def must(self, command, *arguments, **options):
        options.setdefault("env", self.env)
        return must(self.argv(command, *arguments), **options)

    def reload(self):
        mark = self.log.mark()
        self.process.send_signal(signal.SIGHUP)
        self.log.wait_for(r"master\[\d+\]: reload", since=mark)

    def pid(self):
        return self.process.pid

    def private_kib(self):
        """Private memory of the process, in KiB."""
        with open(f"/proc/{self.pid()}/smaps_rollup", encoding="ascii") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


class Postfix(System):
    """The real one, by `postfix start-fg` in its own configuration and queue directory."""

    def __init__(self, scratch, name="pf", smtpd_options="", queue_directory=None, port=None,
                 maxproc="-", rows="", **main):
        self.listen = port or scratch.port()
        self.tools_text = None
        main.setdefault("maillog_file_prefixes", "/dev/stdout, /tmp, /var")
        main.setdefault("multi_instance_enable", "yes")
        for unused in ("alias_maps", "alias_database", "local_recipient_maps"):
            main.setdefault(unused, "")
        master = _POSTFIX_MASTER.format(port=self.listen, options=smtpd_options, maxproc=maxproc)
        super().__init__(scratch, name, master + rows, main, queue_directory)
        os.makedirs(self.queue, exist_ok=True)
        os.makedirs(self.main["data_directory"], exist_ok=True)
        must(["chown", "postfix", self.main["data_directory"]])

    def start(self):
        if os.path.isdir(f"{self.queue}/deferred"):
            self.command("postsuper", "-s")  # at its start it could not log what it renames
        self._started([f"{POSTFIX_SBIN}/postfix", "-c", self.config, "start-fg"],
                      start_new_session=True)
        self.scratch.on_exit(self._end)
        self.log.wait_for(r"daemon started")
        self.port = self.listen
        return self

    def stop(self, timeout=None):
        if self.is_up():
            run([f"{POSTFIX_SBIN}/postfix", "-c", self.config, "stop"], timeout=timeout)
            self.process.wait(timeout or TIMEOUT)

    def wait_deferred(self, queue_id, count=1):
        """It tells nobody when the file has moved: look until it has."""
        deadline = time.monotonic() + TIMEOUT
        while not any(name.endswith(queue_id) for name in self.queue_files("deferred")):
            assert time.monotonic() < deadline, f"{queue_id} is not deferred\n{self.log.tail()}"

    def _end(self):
        """The whole group: master's children outlive it for a moment."""
        self.stop()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def command(self, command, *arguments, **options):
        """With a log file of their own: while the daemon is down they cannot write to its pipe."""
        if self.logfile:
            return postfix_tool(self.config, command, *arguments, **options)
        tools = os.path.join(self.scratch.path, f"{self.name}-tools")
        log = f"{tools}.log"
        text = config_text(dict(self.main, maillog_file=log))
        if text != self.tools_text:  # each reads a file again that was written in its last second
            self.scratch.file(log, "", 0o666)
            self.scratch.file(f"{tools}/main.cf", text)
            self.scratch.file(f"{tools}/master.cf", self.master)
            self.tools_text = text
        return postfix_tool(tools, command, *arguments, **options)

    def must(self, command, *arguments, **options):
        done = self.command(command, *arguments, **options)
        assert done.returncode == 0, (command, arguments, done.stdout, done.stderr)
        return done.stdout

    def reload(self):
        mark = self.log.mark()
        must([f"{POSTFIX_SBIN}/postfix", "-c", self.config, "reload"])
        self.log.wait_for(r"master\[\d+\]: reload", since=mark)

    def pid(self):
        return self.process.pid


def postfix_tool(config, command, *arguments, **options):
    """One of Postfix's own tools with the given configuration directory."""
    folder = "/usr/bin" if command == "mailq" else POSTFIX_SBIN
    option = "-C" if command in ("sendmail", "mailq") else "-c"
    return run([command, option, config, *arguments], executable=f"{folder}/{command}", **options)


def postfix_tools_config(scratch, queue, name="tools", **main):
    """A configuration for Postfix's tools that names somebody's queue directory."""
    config = scratch.dir(f"{name}-etc")
    values = {"compatibility_level": "3.6", "queue_directory": queue,
              "data_directory": scratch.dir("tools-data"), "maillog_file": "/dev/null",
              "maillog_file_prefixes": "/dev", "myhostname": "tools.pennypost.test"}
    values.update(main)
    scratch.file(f"{config}/main.cf", config_text(values))
    scratch.file(f"{config}/master.cf", "")
    return config


def system_under_test(scratch, **main):
    if os.environ.get("PENNYPOST_SUT") == "postfix":
        return Postfix(scratch, **main)
    return Pennypost(scratch, **main)


_POSTFIX_MASTER = """\
127.0.0.1:{port} inet n - n - {maxproc} smtpd {options}
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""
