"""damage.py - damaged queue files before a running daemon: told, kept in corrupt/, nothing lost."""

import json
import os
import random
import re
import time
import zlib

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT, TOP

CORPUS = os.path.join(TOP, "tests", "corpus")

# Where ours ends elsewhere than Postfix's (daemon_final_queue of meta.json): it throws no mail away.
OURS = {
    "no-rcpt": "corrupt",  # the size record says that it had recipients
    "drop-norcpt": "corrupt", "drop-nosender": "corrupt", "drop-trunc-noE": "corrupt",
}
# The same bytes elsewhere. Of cleanup's files in maildrop: nobody is left to send it to, and a
# content record of a wrong type is noticed by cleanup, not by a delivery agent.
MAILDROP = dict(OURS, **{"all-done": "corrupt"})
UNREADY = {"mode-0400", "mode-0600", "drop-mode-0644"}


def cases():
    """name -> (meta, bytes of the file)"""
    found = {}
    for name in sorted(os.listdir(os.path.join(CORPUS, "damaged"))):
        folder = os.path.join(CORPUS, "damaged", name)
        if not os.path.isdir(folder):
            continue
        with open(os.path.join(folder, "meta.json"), encoding="utf-8") as file:
            meta = json.load(file)
        with open(os.path.join(folder, "qfile"), "rb") as file:
            found[name] = meta, file.read()
    return found


class Daemon:
    """A running one, and files that an administrator, or a bad disk, puts before it."""

    def __init__(self, scratch, answer=None, **main):
        self.sink = pp_peers.Sink(scratch, answer=answer)
        self.system = pp_harness.Pennypost(scratch, maximal_queue_lifetime="1000d", **main)
        self.system.relay_to(self.sink).start()
        self.owner = os.stat(f"{self.system.queue}/incoming").st_uid

    def put(self, queue, name, data, mode=0o700, uid=None):
        """As rename(2) would bring it: complete at once."""
        folder = os.path.join(self.system.queue, queue, name[0] if queue == "deferred" else "")
        if not os.path.isdir(folder):
            os.mkdir(folder, 0o700)
            os.chown(folder, self.owner, -1)
        made = os.path.join(self.system.queue, "pid", name)
        with open(made, "wb") as file:
            file.write(data)
        os.chmod(made, mode)
        os.chown(made, self.owner if uid is None else uid, -1)
        os.rename(made, os.path.join(folder, name))

    def settle(self, timeout=TIMEOUT):
        """Until every ready file has been looked at; returns name -> queue of what there is."""
        deadline = time.monotonic() + timeout
        self.system.must("postqueue", "-f")
        while True:
            under_way = [f for f in self.system.queue_files("maildrop", "incoming", "active", "deferred")
                         if self.is_due(f)]
            if not under_way:
                break
            assert time.monotonic() < deadline, (under_way, self.system.log.tail())
            with self.system.log.changed:
                self.system.log.changed.wait(0.1)
        return {os.path.basename(f).split(".")[0]: f.split("/")[0] for f in self.system.queue_files()}

    def is_due(self, path):
        """Somebody ought to look at it now."""
        try:
            st = os.stat(os.path.join(self.system.queue, path))
        except FileNotFoundError:
            return True  # on its way from one queue to another
        return st.st_mode & 0o700 == 0o700 and (
            not path.startswith("deferred/") or st.st_mtime <= time.time() + 1)


@pytest.mark.parametrize("queue", ["incoming", "deferred", "maildrop", "hold"])
def test_every_damage(scratch, root, queue):
    """Each of the corpus in each queue; those of maildrop are submissions of a user there, and no
    queue files anywhere else."""
    daemon = Daemon(scratch)
    found = cases()
    for meta, data in found.values():
        is_submission = meta["queue_for_offline_tools"] == "maildrop"
        mode = int(meta["mode"], 8)
        daemon.put(queue, meta["queue_id"], data, mode if queue == "maildrop" else mode & 0o700,
                   12345 if is_submission and queue == "maildrop" else None)
    if queue == "hold":
        ready = sum(int(meta["mode"], 8) & 0o700 == 0o700 for meta, _ in found.values())
        done = daemon.system.command("postsuper", "-H", "ALL")
        assert f"Released from hold: {ready} messages" in done.stderr
    at = daemon.settle()
    for name, (meta, _) in found.items():
        wanted = (MAILDROP if queue == "maildrop" else OURS).get(name, meta["daemon_final_queue"])
        if name in UNREADY:
            wanted = queue
        elif meta["queue_for_offline_tools"] == "maildrop" and queue != "maildrop":
            wanted = "corrupt"
        elif name == "badtype-first" and queue == "maildrop":
            wanted = "corrupt"
        queue_id = meta["queue_id"]
        assert (name, at.get(queue_id, "(gone)")) == (name, wanted)
        if wanted == "corrupt":
            daemon.system.log.wait_for(
                f"warning: .*{queue_id}.*( at offset [0-9]+|no valid recipients)")
            daemon.system.log.wait_for(f"corrupt.*{queue_id}|{queue_id}.*corrupt")
    assert daemon.system.is_up()
    daemon.system.stop()


def test_odd_but_taken(scratch, root):
    """What Postfix warns of, and delivers."""
    daemon = Daemon(scratch)
    found = cases()
    for name, text in (("rcptcount-high", "rcpt count mismatch (5)"),
                       ("rcptcount-low", "rcpt count mismatch (-1)"),
                       ("orcpt-orphan", "ignoring out-of-order original recipient <stray@ok.test>")):
        meta, data = found[name]
        daemon.put("incoming", meta["queue_id"], data)
        daemon.system.wait_removed(meta["queue_id"])
        assert any(f"{meta['queue_id']}: {text}" in line for line in daemon.system.log.lines)
    assert len(daemon.sink.mails) == 3


def test_name_taken_in_corrupt(scratch, root):
    daemon = Daemon(scratch)
    for count, _ in enumerate(range(3), 1):
        daemon.put("incoming", "ABCDEF", b"C")
        daemon.settle()
        assert len(daemon.system.queue_files("corrupt")) == count
    daemon.put("maildrop", "ABCDEF", b"S", 0o744, 12345)
    daemon.settle()
    assert len(daemon.system.queue_files("corrupt")) == 4


@pytest.mark.parametrize("sender", [b"sender@ok>test", b"sender\x01ok.test"])
def test_sender_that_is_none(scratch, root, sender):
    """Its mail is refused: a notice is made, or where that cannot be the mail is kept; no loop."""
    daemon = Daemon(scratch, lambda verb, _: "550 5.1.1 no" if verb == "RCPT" else None)
    with open(os.path.join(CORPUS, "cases", "smtp-1rcpt", "qfile"), "rb") as file:
        data = file.read().replace(b"S\x0esender@ok.test", b"S%c%s" % (len(sender), sender))
    daemon.put("incoming", "ABCDEF01", data)
    at = daemon.settle()
    daemon.system.must("postqueue", "-f")
    at = daemon.settle()
    if b">" in sender:
        assert daemon.system.log.find("ABCDEF01: sender non-delivery notification: [0-9A-F]+$")
        assert "ABCDEF01" not in at
    else:
        assert at == {"ABCDEF01": "corrupt"}
    assert len(daemon.system.log.find("from=<")) < 10


class Mutations:
    """Bit flips, truncations, splices of whole files, and what a mad editor does to records."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.files = []
        for name in sorted(os.listdir(os.path.join(CORPUS, "cases"))):
            with open(os.path.join(CORPUS, "cases", name, "qfile"), "rb") as file:
                data = file.read()
            if len(data) < 16384:
                self.files.append(data)

    def next(self):
        r = self.random
        data = bytearray(r.choice(self.files))
        for _ in range(r.choice((1, 1, 1, 2, 5))):
            at = r.randrange(len(data) + 1)
            kind = r.randrange(5)
            if kind == 0 and at < len(data):
                data[at] ^= 1 << r.randrange(8)
            elif kind == 1:
                del data[at:]
            elif kind == 2:
                other = r.choice(self.files)
                data[at:] = other[r.randrange(len(other)):]
            elif kind == 3:
                del data[at:at + r.randrange(40)]
            else:
                data[at:at] = b"p\x0f%15d" % r.randrange(len(data) + 20)
        return bytes(data)


def test_mutations(scratch, root):
    """2,000 files, some with recipients that are refused: each is delivered, returned, queued or kept;
    and the daemon lives."""
    total = int(os.environ.get("PENNYPOST_MUTATIONS", "2000"))

    def answer(verb, argument):
        if verb == "RCPT" and argument:
            digit = zlib.crc32(argument.encode()) % 7
            return {0: "550 5.1.1 no such user", 1: "450 4.2.0 later"}.get(digit)
        return None

    daemon = Daemon(scratch, answer, default_process_limit="20", bounce_queue_lifetime="1000d")
    mutations = Mutations(int(os.environ.get("PENNYPOST_SEED", "20261121")))
    ids = []
    for number in range(total):
        queue = ("incoming", "deferred", "maildrop", "incoming")[number % 4]
        ids.append(f"F{number:05d}ABC")
        daemon.put(queue, ids[-1], mutations.next(), 0o744 if number % 8 == 2 else 0o700,
                   12345 if number % 8 == 2 else None)
    at = daemon.settle(4 * TIMEOUT)
    assert daemon.system.is_up()
    for line in daemon.system.must("postqueue", "-j").splitlines():  # young mail has no file
        row = json.loads(line)
        at.setdefault(row["queue_id"], row["queue_name"])
    log = "\n".join(daemon.system.log.lines)
    ended = set(re.findall(r"qmgr\[\d+\]: (\w+): removed", log))
    told = set(re.findall(r"warning: .*(F\d{5}ABC)", log))
    taken = re.findall(r"pickup\[\d+\]: (\w+): uid=", log)
    left = [n for n in ids if n not in at]
    for queue_id in ids:
        assert at.get(queue_id) != "corrupt" or queue_id in told, queue_id
    submitted = [n for n in left if n not in ended]
    assert all(int(n[1:6]) % 4 == 2 for n in submitted), "only maildrop files get new names"
    assert len([n for n in taken if n in ended or n in at]) >= len(submitted)
    assert len([q for q in at.values() if q == "corrupt"]) > total / 3
    assert len(ended) > total / 40
    daemon.system.command("postqueue", "-p")
    daemon.system.stop()
