"""loads.py - much mail at once: relayed, only accepted, through TLS and SASL; system calls; limits.

Postfix gets fewer mails than pennypost where it needs several times as long for them; both work for
a second at least, after mails that are not counted. All numbers are rates, so that is the same.
"""

import os
import re
import subprocess
import tempfile
import time

from measure import (PENNYPOST, POSTFIX, Section, Sink, Subject, cpu_seconds, family, settle, silent, source,
                     say, switches, systems)
from pp_ca import Authority
from pp_harness import POSTFIX_SBIN
from pp_scratch import Scratch

SMALL, LARGE = 4096, 102400


def portion(kind, options, length, share=4, mails=None):
    """How many mails this system gets."""
    messages = (mails or options.messages) // (1 if length <= SMALL else 4)
    if kind != PENNYPOST:
        messages //= share if length <= SMALL else 2
    return max(messages, 100)


def shapes(options):
    """(label, sessions, length, kept), in the order of the table."""
    for length in options.length or (SMALL, LARGE):
        for sessions in options.sessions or (20, 100):
            for kept in (False, True):
                connection = "kept" if kept else "one each"
                yield f"{length / 1024:g} KiB, {sessions} sessions, {connection}", sessions, length, kept


class Load:
    """Mail through a running system, counted at its sink over all loads."""

    def __init__(self, subject, sink):
        self.subject, self.sink, self.sent = subject, sink, 0

    def send(self, messages, sessions, length, kept):
        """(mails a second at the sink, CPU seconds per 1,000, context switches per mail)"""
        pid = self.subject.pid
        cpu, switched = cpu_seconds(pid), switches(pid)
        begin, _ = source(self.subject.port, messages, sessions, length, kept)
        self.sent += messages
        arrived = self.sink.wait("mails", self.sent)
        settle(pid)
        return (messages / (arrived - begin), (cpu_seconds(pid) - cpu) * 1000 / messages,
                (switches(pid) - switched) / messages)


def empty(subject):
    """Stops the system; nothing may be left in its queue."""
    subject.stop()
    left = subject.system.queue_files("incoming", "active", "deferred", "maildrop")
    assert not left, (subject.kind, left[:3])


def relay(options):
    rates, costs = Section("relayed mails a second"), Section("CPU seconds per 1,000 mails relayed")
    moves = Section("context switches per mail relayed")
    limits_of = {"Postfix, limit 5": "5", "Postfix, limit 20": "20", PENNYPOST: "20"}
    for number in range(options.rounds):
        for system in systems(options, "Postfix, limit 20", "Postfix, limit 5"):
            kind = PENNYPOST if system == PENNYPOST else POSTFIX
            area = Scratch("pp-sink")
            sink = Sink(area)
            with Subject(kind, sink.port,
                         default_destination_concurrency_limit=limits_of[system]) as subject:
                load = Load(subject, sink)
                load.send(200, 20, SMALL, False)
                for label, sessions, length, kept in shapes(options):
                    rate, cpu, moved = load.send(portion(kind, options, length), sessions, length,
                                                 kept)
                    say(f"relay {number + 1} {system}, {label}: {rate:.0f}/s, CPU {cpu:.3f}, "
                        f"switches {moved:.1f}")
                    small = length <= SMALL
                    rates.add(system, label, rate, target=6 if small else 2)
                    costs.add(system, label, cpu, False, 0.125 if small else 0.333)
                    moves.add(system, label, moved, False)
                empty(subject)
            area.close()


def accept(options):
    """Nothing is delivered, so what is accepted stays, and is listed by postqueue."""
    rates, costs = Section("accepted mails a second"), Section("CPU seconds per 1,000 mails accepted")
    sessions = (options.sessions or [20])[0]
    for number in range(options.rounds):
        for label, count, length, kept in lengths(options, sessions):
            for kind in systems(options):
                area = Scratch("pp-silent")
                messages = portion(kind, options, length, mails=count)
                warm = 5 * sessions
                relay, main = kept_from_leaving(area, options.how)
                with Subject(kind, relay, **main) as subject:
                    source(subject.port, warm, sessions, length, kept)
                    settle(subject.pid)
                    cpu = cpu_seconds(subject.pid)
                    _, seconds = source(subject.port, messages, sessions, length, kept)
                    cpu = cpu_seconds(subject.pid) - cpu
                    if kind == PENNYPOST:  # a stop would wait for the relay
                        subject.system.kill()
                    listed = len(subject.system.must("postqueue", "-j").splitlines())
                    assert listed == messages + warm, (kind, listed, messages + warm)
                area.close()
                say(f"accept {number + 1} {kind}, {label}: {messages / seconds:.0f}/s, "
                    f"CPU {cpu * 1000 / messages:.3f}")
                target = 1.8 if length > SMALL else 8 if kept else 5
                rates.add(kind, label, messages / seconds, target=target)
                costs.add(kind, label, cpu * 1000 / messages, False)


def lengths(options, sessions):
    """(label, mails, length, kept): a short run, and one that outlives every buffer."""
    for label, found, length, kept in shapes(options):
        if found != sessions:
            continue
        for count in options.run or ([options.messages] if length > SMALL else [options.messages, 20000]):
            yield f"{label}, {count:,} mails", count, length, kept


def kept_from_leaving(area, how):
    """(port of the relay, parameters)"""
    if how == "refuse":
        return area.port(), {}
    main = {"defer": {"defer_transports": "smtp"},
            "hold": {"smtpd_recipient_restrictions": "check_recipient_access static:HOLD, permit"}}
    return silent(area), main.get(how, {})


def with_tlsproxy(master):
    return master + "tlsproxy unix - - n - 0 tlsproxy\n"


def sasl(options):
    """To a relay that wants STARTTLS and AUTH; Postfix as Debian sets it up, and with kept TLS."""
    rates = Section("relayed a second through STARTTLS and SASL, 20 sessions, 4 KiB")
    costs = Section("CPU seconds per 1,000 through STARTTLS and SASL")
    reused = "Postfix, connection reuse"
    area = Scratch("pp-tls")
    certificate = Authority(area.dir("ca")).issue("localhost")
    for number in range(options.rounds):
        for system in systems(options, POSTFIX, reused):
            kind = PENNYPOST if system == PENNYPOST else POSTFIX
            sink = Sink(area, certificate=certificate)
            passwords = area.file("sasl_passwd", f"[127.0.0.1]:{sink.port} user:secret\n")
            main = {"smtp_tls_security_level": "encrypt", "smtp_sasl_auth_enable": "yes",
                    "smtp_sasl_password_maps": f"texthash:{passwords}",
                    "smtp_sasl_security_options": "noanonymous",
                    "smtp_tls_CApath": "/etc/ssl/certs",
                    "smtp_tls_session_cache_database": "btree:${data_directory}/smtp_scache"}
            if system == reused:
                main["smtp_tls_connection_reuse"] = "yes"
            with Subject(kind, sink.port, with_tlsproxy, **main) as subject:
                load = Load(subject, sink)
                load.send(100, 20, SMALL, False)
                rate, cpu, _ = load.send(portion(kind, options, SMALL, 8), 20, SMALL, False)
                empty(subject)
            sink.close()
            say(f"sasl {number + 1} {system}: {rate:.0f}/s, CPU {cpu:.3f}")
            # Two targets, one for each Postfix: a row for each.
            for name, target in ((POSTFIX, 6), (reused, 3)):
                if system in (PENNYPOST, name):
                    rates.add(system, f"against {name}", rate, target=target)
                    costs.add(system, f"against {name}", cpu, False)
    area.close()


def trace(options):
    """One slow round under strace: the system calls of a mail, and the wake-ups among them."""
    for kept in (False, True):
        shape = "kept" if kept else "one each"
        section = Section(f"system calls per mail relayed, 4 KiB, 20 sessions, {shape}")
        for kind in systems(options):
            area = Scratch("pp-trace")
            sink = Sink(area)
            with Subject(kind, sink.port) as subject:
                load = Load(subject, sink)
                load.send(200, 20, SMALL, kept)
                messages = max(options.messages // (4 if kind == PENNYPOST else 10), 100)
                calls = traced(subject, ["-c"], lambda load=load, messages=messages:
                               load.send(messages, 20, SMALL, kept))
                few = messages // 4
                lines = traced(subject, ["-y", "-e", "trace=write,futex"],
                               lambda load=load, few=few: load.send(few, 20, SMALL, kept))
            area.close()
            counts = {name: int(count) / messages for count, name in re.findall(
                r"(?m)^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", calls)}
            section.add(kind, "all", counts.pop("total", 0) or sum(counts.values()), False)
            wakes = len(re.findall(r"FUTEX_WAKE|<anon_inode:\[eventfd\]>", lines)) / few
            section.add(kind, "wake-ups (FUTEX_WAKE, eventfd written)", wakes, False)
            for name, count in sorted(counts.items(), key=lambda item: -item[1]):
                if count >= (0.1 if kind == PENNYPOST else 4):
                    section.add(kind, name, count, False)
            say(f"trace {kind}, {shape}: {sum(counts.values()):.1f} system calls a mail, {wakes:.2f} "
                "wake-ups; " + ", ".join(f"{n} {c:.2f}" for n, c in
                                         sorted(counts.items(), key=lambda item: -item[1])[:16]))


def traced(subject, options, work):
    """What strace says of all the system's processes and threads while `work` runs."""
    output = os.path.join(subject.scratch.path, "strace")
    argv = ["strace", "-f", "-o", output, *options]
    for pid in family(subject.pid):
        argv += ["-p", str(pid)]
    tracer = subprocess.Popen(argv, stderr=subprocess.PIPE)
    tracer.stderr.readline()
    time.sleep(0.2)  # the others are attached one after the other
    work()
    tracer.terminate()
    tracer.communicate()
    with open(output, encoding="utf-8", errors="replace") as file:
        return file.read()


def limits(options):
    """What the machine does without any mail system between."""
    section = Section("the machine alone, per second")
    for number in range(min(options.rounds, 3)):
        area = Scratch("pp-limit")
        sink, sent = Sink(area), 0
        for sessions in (20, 100):
            for kept in (False, True):
                _, seconds = source(sink.port, options.messages, sessions, SMALL, kept)
                sent += options.messages
                sink.wait("mails", sent)
                label = f"smtp-source to the sink, {sessions} sessions, {'kept' if kept else 'one each'}"
                section.add("machine", label, options.messages / seconds)
        _, seconds = source(smtp_sink(area), options.messages)
        section.add("machine", "smtp-source to smtp-sink, 20 sessions, one each",
                    options.messages / seconds)
        for name, rate in disk():
            section.add("machine", name, rate)
        area.close()
        say(f"limits {number + 1}: " + "; ".join(
            f"{name}: {row['values']['machine'][-1]:.0f}" for name, row in section.rows.items()))


def smtp_sink(area):
    port = area.port()
    # Released: smtp-sink does not share a port with a socket that is merely bound.
    area.sockets.pop().close()
    process, _ = area.start([f"{POSTFIX_SBIN}/smtp-sink", "-u", "nobody", f"inet:127.0.0.1:{port}",
                             "1024"], "smtp-sink")
    while subprocess.run(["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"],
                         stderr=subprocess.DEVNULL, check=False).returncode:
        assert process.poll() is None
    return port


def disk(count=1000):
    """Yields (what, times a second)."""
    with tempfile.TemporaryDirectory(prefix="pp-disk-") as folder:
        body = b"x" * SMALL
        begin = time.monotonic()
        for number in range(count):
            fd = os.open(f"{folder}/a{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            os.write(fd, body)
            os.fsync(fd)
            os.close(fd)
            os.rename(f"{folder}/a{number}", f"{folder}/b{number}")
        yield "a 4 KiB file made, synced, renamed", count / (time.monotonic() - begin)
        for size in (SMALL, 20 * SMALL, 20 * LARGE):
            times = count if size < LARGE else count // 10
            fd = os.open(f"{folder}/journal", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            os.posix_fallocate(fd, 0, size * times)
            for at in range(0, size * times, 1 << 20):
                os.pwrite(fd, bytes(1 << 20), at)
            os.fsync(fd)
            begin = time.monotonic()
            for number in range(times):
                os.pwrite(fd, bytes(size), number * size)
                os.fdatasync(fd)
            yield (f"{size // 1024} KiB written over and fdatasync",
                   times / (time.monotonic() - begin))
            os.close(fd)
