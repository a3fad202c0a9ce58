"""clock.py - the wall clock is set back over a kill, over a stop and in the middle of a run.

fault.c moves the daemon's clock; the times of files stay those of the kernel. What must not happen:
that an id is given twice, since another mail of that id may still wait, that mail is lost or
delivered twice, or that a receiver gets more than its rate.
"""

import mmap
import os
import struct
import time

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT, most_in

DAY = 86400


class Clock:
    def __init__(self, path):
        with open(path, "wb") as file:
            file.write(bytes(8))
        with open(path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 8)

    def set(self, ahead):
        self.page[:] = struct.pack("<q", ahead)


def moment(queue_id):
    """The microsecond an id was made of."""
    digits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
    if "z" in queue_id:
        text = queue_id[:queue_id.rindex("z")]
        seconds, micros = (sum(digits.index(c) * 52 ** i for i, c in enumerate(reversed(part)))
                           for part in (text[:-4], text[-4:]))
        return seconds * 1000000 + micros
    return int(queue_id[5:], 16) * 1000000 + int(queue_id[:5], 16)


@pytest.mark.parametrize("long_ids", ["no", "yes"])
@pytest.mark.parametrize("journal", ["yes", "no"])
def test_set_back(scratch, shim, root, journal, long_ids):
    is_later = [True]
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: "450 4.2.0 later" if verb == "RCPT" and is_later
                         else None)
    clock = Clock(os.path.join(scratch.path, "clock"))
    system = pp_harness.Pennypost(scratch, journal=journal, enable_long_queue_ids=long_ids).relay_to(sink)
    system.env = dict(system.env, LD_PRELOAD=shim, FAULT_CLOCK=os.path.join(scratch.path, "clock"))
    ids = []

    def send(n):
        ids.extend(system.send(f"to{len(ids)}@dest.test") for _ in range(n))

    ends = [system.kill, system.stop, system.kill, system.kill, system.stop]
    for life, end in enumerate(ends):
        clock.set((len(ends) - life) * DAY)  # a day back at each start
        system.start()
        send(3)
        clock.set((len(ends) - life) * DAY - 3600)  # an hour back in the middle
        send(3)
        end()
    clock.set(0)
    system.start()
    send(1)
    times = [moment(queue_id) for queue_id in ids]
    assert times == sorted(set(times)), [b - a for a, b in zip(times, times[1:])]
    is_later.clear()
    system.must("postqueue", "-f")
    with sink.changed:
        sink.changed.wait_for(lambda: len(sink.mails) >= len(ids), TIMEOUT)
    got = sorted(to for mail in sink.mails for to in mail.recipients)
    assert got == sorted(f"to{n}@dest.test" for n in range(len(ids)))
    system.stop()
    assert system.queue_files() == [] and os.listdir(f"{system.queue}/journal") == []


def test_rate(scratch, shim):
    """Its periods are those of the time that passes."""
    times = []
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: times.append(time.monotonic()) if verb == "MAIL" else None)
    clock = Clock(os.path.join(scratch.path, "clock"))
    system = pp_harness.Pennypost(scratch, default_destination_rate_limit="10/1s",
                                  maximal_queue_lifetime="1000d").relay_to(sink)
    system.env = dict(system.env, LD_PRELOAD=shim, FAULT_CLOCK=os.path.join(scratch.path, "clock"))
    system.start()
    pp_peers.smtp_source(system.port, "-s", 4, "-m", 70)
    for n, ahead in enumerate((1, -1, 400, -400, 0, 5), 1):
        sink.wait(10 * n)
        clock.set(ahead * DAY)
        if n > 2:
            (system.kill if n % 2 else system.stop)()
            system.start()
    sink.wait(70)
    assert most_in(times, 1) <= 10
