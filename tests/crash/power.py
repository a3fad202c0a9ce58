"""power.py - the power fails under the whole daemon, on a real file system: what got its 250 arrives.

The spool lies on an ext4 in a file. At a random moment of a load the daemon is stopped, the file is
copied, which has what was written to that disk and nothing that waits in the kernel, and the daemon
killed; its next life begins on the copy. So at each cut all is lost that no sync has asked for, or
with other mount options some of it, metadata before content. A mail may arrive twice then.
PENNYPOST_CUTS: how many in all; PENNYPOST_SEED: which.
"""

import os
import random
import shutil
import signal
import smtplib
import subprocess
import threading

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT, Scratch

CUTS = int(os.environ.get("PENNYPOST_CUTS", "15"))
SENDERS = 4
MOUNTS = ("commit=300", "commit=1", "commit=1,data=writeback")
WAYS = {"journal": {}, "no_linger": {"journal_linger": "0"}, "no_journal": {"journal": "no"}}


class Disk:
    """A file system that a cut takes back to what its disk has."""

    def __init__(self, area):
        self.area, self.number = area, 0
        self.image, self.place = os.path.join(area.path, "disk0"), os.path.join(area.path, "mnt")
        os.mkdir(self.place)
        with open(self.image, "wb") as file:
            file.truncate(160 << 20)
        for argv in (["mkfs.ext4", "-q", "-F", self.image], self.mounting(MOUNTS[0])):
            done = subprocess.run(argv, capture_output=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"no file system of our own: {done.stderr.decode().strip()}")

    def mounting(self, options):
        return ["mount", "-o", f"loop,noatime,{options}", self.image, self.place]

    def copy(self):
        self.number += 1
        copy = os.path.join(self.area.path, f"disk{self.number}")
        shutil.copyfile(self.image, copy)
        return copy

    def replace(self, copy, options):
        subprocess.run(["umount", self.place], check=True)
        os.unlink(self.image)
        self.image = copy
        subprocess.run(self.mounting(options), check=True)

    def close(self):
        subprocess.run(["umount", "-l", self.place], check=False)


@pytest.fixture
def disk(root):
    area = Scratch(in_memory=True)
    made = None
    try:
        made = Disk(area)
        yield made
    finally:
        if made:
            made.close()
        area.close()


class Load:
    """Numbered mails as fast as they are taken, and those that got a 250."""

    def __init__(self, system):
        self.system, self.acknowledged, self.next, self.ending = system, set(), 0, False
        self.changed = threading.Condition()

    def _send(self):
        try:
            with smtplib.SMTP("127.0.0.1", self.system.port, timeout=TIMEOUT) as client:
                while not self.ending:
                    with self.changed:
                        self.next += 1
                        name = f"m{self.next}"
                    lines = 30000 if random.random() < 0.03 else random.randrange(300)
                    slow = "slow" if random.random() < 0.3 else "good"
                    client.sendmail("sender@client.test", [f"{slow}@dest.test", f"{name}@dest.test"],
                                    f"Subject: {name}\r\n\r\n" + f"line of {name}\r\n" * lines)
                    with self.changed:
                        self.acknowledged.add((name, lines))
                        self.changed.notify_all()
        except (smtplib.SMTPException, OSError):
            pass

    def run_until(self, count, end):
        self.ending = False
        threads = [threading.Thread(target=self._send, daemon=True) for _ in range(SENDERS)]
        for thread in threads:
            thread.start()
        with self.changed:
            target = len(self.acknowledged) + count
            assert self.changed.wait_for(lambda: len(self.acknowledged) >= target, TIMEOUT)
        end()
        self.ending = True
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("way", WAYS)
def test_power_cuts(scratch, disk, capsys, way):
    random.seed(int(os.environ.get("PENNYPOST_SEED", "1")))
    gate = {"slow@": "450 4.2.0 later"}
    sink = pp_peers.Sink(scratch, answer=lambda verb, text: next(
        (reply for word, reply in gate.items() if word in text), None) if verb == "RCPT" else None)
    system = pp_harness.Pennypost(scratch, queue_directory=os.path.join(disk.place, "spool"),
                                  message_size_limit="0", **WAYS[way]).relay_to(sink)
    load, cuts = Load(system), max(2, CUTS // len(WAYS))

    def cut():
        system.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, system.process.pid, os.WSTOPPED)
        copy = disk.copy()
        system.kill()
        disk.replace(copy, random.choice(MOUNTS))

    for _ in range(cuts):
        system.spawn().wait_ready()
        load.run_until(random.randrange(1, 60), cut)
    gate.clear()
    system.start()
    system.must("postqueue", "-f")
    arrived, seen = {}, 0

    def arrivals():
        nonlocal seen
        fresh, seen = sink.mails[seen:], len(sink.mails)
        for mail in fresh:
            name = mail.header("Subject")
            if f"{name}@dest.test" in mail.recipients:
                arrived.setdefault((name, mail.data.count(f"line of {name}\r\n".encode())), []).append(mail)
        return arrived.keys()

    with sink.changed:
        sink.changed.wait_for(lambda: load.acknowledged <= arrivals(), TIMEOUT)
    lost = load.acknowledged - set(arrived)
    twice = sum(len(mails) - 1 for mails in arrived.values())
    with capsys.disabled():
        print(f"\n{way}, {cuts} power cuts: {load.next} sent, {len(load.acknowledged)} acknowledged, "
              f"{len(lost)} lost or not whole, {twice} twice, {len(system.queue_files('corrupt'))} corrupt")
    system.stop()
    assert not lost, sorted(lost)[:20]
