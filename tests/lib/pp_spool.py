"""pp_spool.py - queue files and defer logs as Postfix writes them, many of them, quickly.

Names follow the inode, so that Postfix's postsuper has nothing to rename; copies of a spool are
therefore made anew, never copied.
"""

import contextlib
import grp
import itertools
import os
import pwd
import time

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
FOLDERS = QUEUES + ("defer", "bounce", "trace", "flush", "saved", "private", "public", "pid")
HASHED = ("deferred", "defer")
MANY = 20000  # more are made by several processes
DIGITS = "0123456789ABCDEF"
ALPHABET = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"


def record(kind, body):
    """Type, length in seven bits a byte, low ones first, and the body."""
    left, length = len(body), bytearray()
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return kind + bytes(length) + body


def _attributes(*pairs):
    return b"".join(record(b"A", f"{name}={value}".encode()) for name, value in pairs)


def queue_file(sender, recipients, seconds, micros, content):
    """A mail as smtpd and cleanup leave it; returns (bytes, the offset of each recipient)."""
    body = b"".join(record(b"N", line) for line in content)
    client = (("client_name", "client.example.com"), ("reverse_client_name", "client.example.com"),
              ("client_address", "192.0.2.7"), ("client_port", 4711), ("helo_name", "client"),
              ("protocol_name", "ESMTP"))
    envelope = bytearray(
        record(b"T", f"{seconds} {micros}".encode()) +
        _attributes(("create_time", seconds), ("rewrite_context", "remote")) +
        record(b"S", sender.encode()) +
        _attributes(("log_client_name", "client.example.com"), ("log_client_address", "192.0.2.7"),
                    ("log_client_port", 4711),
                    ("log_message_origin", "client.example.com[192.0.2.7]"),
                    ("log_helo_name", "client"), ("log_protocol_name", "ESMTP"),
                    *client, ("client_address_type", 2)))
    size_record = len(record(b"C", b" " * 95))
    offsets = []
    for address in recipients:
        raw = address.encode()
        envelope += _attributes(("dsn_orig_rcpt", "rfc822;" + address)) + record(b"O", raw)
        offsets.append(size_record + len(envelope))
        envelope += record(b"R", raw)
    envelope += record(b"M", b"")
    size = b"%15d %15d %15d %15d %15d %15d" % (len(body), size_record + len(envelope),
                                               len(recipients), 0, len(body), 0)
    return (record(b"C", size) + bytes(envelope) + body + record(b"X", b"") + record(b"E", b""),
            offsets)


def defer_log(entries):
    """Entries are (recipient, offset, status, reason, relay or "")."""
    text = ""
    for address, offset, status, reason, relay in entries:
        text += (f"\n<{address}>: {reason}\nrecipient={address}\noffset={offset}\n"
                 f"dsn_orig_rcpt=rfc822;{address}\nstatus={status}\naction=delayed\n"
                 + (f"mta_type=dns\nmta_mname={relay}\n" if relay else "") + f"reason={reason}\n")
    return (text + "\n").encode()


def _base(number, base, digits):
    out = ""
    while number or len(out) < digits:
        out = ALPHABET[number % base] + out
        number //= base
    return out


def queue_id(inode, seconds, micros, long_ids):
    if long_ids:
        return _base(seconds, 52, 6) + _base(micros, 52, 4) + "z" + _base(inode, 51, 1)
    return f"{micros:05X}{inode:X}"


def hash_dirs(name, depth, long_ids):
    """The directories of a hashed queue, by the microseconds in the name."""
    if long_ids:
        micros = 0
        for char in name[6:10]:
            micros = micros * 52 + ALPHABET.index(char)
        name = f"{micros:05X}"
    return "".join(char + "/" for char in name[:depth])


@contextlib.contextmanager
def as_user(user):
    """Files made inside belong to the user, without a chown each."""
    if os.geteuid() != 0:
        yield
        return
    entry, gid = pwd.getpwnam(user), os.getegid()
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)


def in_processes(work, parts):
    """What work(*part) returns, lists of words, each made by a process of its own."""
    pipes = []
    for part in parts:
        read, write = os.pipe()
        if os.fork() == 0:
            code = 1
            try:
                with os.fdopen(write, "w") as out:
                    out.write(" ".join(work(*part)))
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        pipes.append(os.fdopen(read))
    found = [pipe.read().split() for pipe in pipes]
    assert all(os.wait()[1] == 0 for _ in parts)
    return found


class Spool:
    """A queue directory of a system that is down. Mail i of fill() is the same in every copy."""

    def __init__(self, path, owner="postfix", depth=1, long_ids=False):
        self.path, self.owner, self.depth, self.long_ids = path, owner, depth, long_ids
        self.leaves = [""]
        for _ in range(depth):
            self.leaves = [leaf + digit + "/" for leaf in self.leaves for digit in DIGITS]
        modes = {"maildrop": 0o730, "public": 0o710, "pid": 0o755}
        os.makedirs(path, exist_ok=True)
        uid, gid = (pwd.getpwnam(owner)[2:4] if os.geteuid() == 0 else (-1, -1))
        for name in FOLDERS:
            os.makedirs(f"{path}/{name}", exist_ok=True)
            os.chmod(f"{path}/{name}", modes.get(name, 0o700))
            if name != "pid":
                group = self._drop_group() if name in ("maildrop", "public") else -1
                os.chown(f"{path}/{name}", uid, gid if group < 0 else group)
        with as_user(owner):
            for name in HASHED:
                for leaf in self.leaves:
                    os.makedirs(f"{path}/{name}/{leaf}", 0o700, exist_ok=True)

    @staticmethod
    def _drop_group():
        """Who may drop mail, where there is such a group and we may give it away."""
        try:
            return grp.getgrnam("postdrop").gr_gid if os.geteuid() == 0 else -1
        except KeyError:
            return -1

    def put(self, queue, data, seconds, micros, mtime=None, log=None):
        """Adds a file under a name of its own, with its defer log; returns the id. The caller is
        the owner (as_user)."""
        temporary = f"{self.path}/incoming/making.{os.getpid()}"
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o700)
        os.write(fd, data)
        name = queue_id(os.fstat(fd).st_ino, seconds, micros, self.long_ids)
        os.close(fd)
        where = hash_dirs(name, self.depth, self.long_ids)
        place = f"{self.path}/{queue}/{where if queue in HASHED else ''}{name}"
        if mtime is not None:
            os.utime(temporary, (mtime, mtime))
        os.rename(temporary, place)
        if log:
            fd = os.open(f"{self.path}/defer/{where}{name}", os.O_CREAT | os.O_WRONLY, 0o600)
            os.write(fd, log)
            os.close(fd)
        return name

    def fill(self, count, domains=200, first=0, queue="deferred", next_try=86400, lines=20):
        """Deferred mails, one recipient each, evenly over the domains; returns their ids."""
        now = int(time.time())
        text = [b"a line of text in this message body, number %d" % n for n in range(lines)]

        def part(begin, end):
            with as_user(self.owner):
                return [self._fill_one(number, now, text, domains, queue, next_try)
                        for number in range(begin, end)]
        workers = 1 if count < MANY else 2 * (os.cpu_count() or 1)
        if workers == 1:
            return part(first, first + count)
        bounds = [first + count * n // workers for n in range(workers + 1)]
        return [name for names in in_processes(part, list(itertools.pairwise(bounds))) for name in names]

    def _fill_one(self, number, now, text, domains, queue, next_try):
        seconds, micros, domain = (now - 3600 - number % 5000 * 10, number * 7919 % 1000000,
                                   number % domains)
        sender = f"sender{number % 300}@app{number % 7}.example.com"
        to = f"user{number}@domain{domain}.example.net"
        content = [b"Received: from client (client.example.com [192.0.2.7])",
                   b"\tby mx.example.org (Postfix) with ESMTP id %X" % number,
                   f"From: {sender}".encode(), f"To: {to}".encode(),
                   b"Subject: message %d" % number, b"Message-ID: <%d@example.com>" % number,
                   b""] + text
        data, offsets = queue_file(sender, [to], seconds, micros, content)
        host = f"mx{domain}.domain{domain}.example.net"
        reason = f"connect to {host}[198.51.100.{domain % 250}]:25: Connection timed out"
        log = defer_log([(to, offsets[0], "4.4.1", reason, "")])
        return self.put(queue, data, seconds, micros, now + next_try, log)

    def count(self, *queues):
        """Regular files in the queues."""
        total = 0
        for queue in queues:
            for _, _, names in os.walk(f"{self.path}/{queue}"):
                total += len(names)
        return total
