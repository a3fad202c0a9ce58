"""takeover.py - one queue directory, alternately owned by Postfix and by pennypost: nothing is lost."""

import collections
import json
import os
import re
import time

import pp_harness
import pp_peers
import pp_spool
import pytest
from pp_scratch import TIMEOUT, must

ROUNDS, DAMAGED = 5, 2
# 1,000 mails: those in deferred, hold and corrupt are there from the first, the others arrive in
# equal parts before each change of hands.
DEFERRED, HOLD, CORRUPT, ARRIVALS = 500, 150, 40, 20
KINDS = ("ok", "ok", "later", "ok", "both", "never", "ok", "later")


def same(expected, found):
    """Says only what differs: a thousand entries side by side help nobody."""
    names = sorted(n for n in {**expected, **found} if expected.get(n) != found.get(n))
    assert not names, [(n, expected.get(n), found.get(n)) for n in names[:10]]


class Ledger:
    """What should be where, by the number of the mail: names change with the owner."""

    def __init__(self, scratch, path, owner, depth, long_ids):
        self.spool = pp_spool.Spool(path, depth=depth, long_ids=long_ids)
        self.owner = owner
        self.number = 0
        self.where = {}
        self.arrived = collections.Counter()  # at the sink, by recipient
        self.notices = collections.Counter()
        self.retry, self.files = {}, {}
        self.later = True
        self.sink = pp_peers.Sink(scratch, answer=self._answer)

    def _answer(self, verb, argument):
        if verb == "RCPT" and "<never-" in argument:
            return "550 5.1.1 nobody here"
        if verb == "RCPT" and "<later-" in argument and self.later:
            return "450 4.2.0 not today"
        return None

    @staticmethod
    def recipients(number):
        kind = KINDS[number % len(KINDS)]
        kinds = ("ok", "later") if kind == "both" else (kind,)
        return [f"{kind}-{number}@dest.test" for kind in kinds]

    def put(self, queue, count, next_try=0, mode="whole"):
        """Mails written as Postfix writes them; those that wait have been tried."""
        now, added = int(time.time()), []
        with pp_spool.as_user(self.spool.owner):
            for _ in range(count):
                self.number += 1
                to = self.recipients(self.number)
                data, offsets = pp_spool.queue_file(
                    f"back-{self.number}@src.test", to, now - 60, self.number * 997 % 1000000,
                    [b"Subject: %d" % self.number, b"", b"mail %d" % self.number])
                log = pp_spool.defer_log([(a, o, "4.2.0", "host said: not today", "mx.dest.test")
                                          for a, o in zip(to, offsets)]) if next_try else None
                name = self.spool.put(queue, data[:150] if mode == "damaged" else data, now - 60,
                                      self.number * 997 % 1000000,
                                      next_try and now + next_try + self.number, log)
                if queue == "deferred":
                    leaf = pp_spool.hash_dirs(name, self.spool.depth, self.spool.long_ids)
                    self.files[self.number] = f"{self.spool.path}/deferred/{leaf}{name}"
                self.where[self.number] = queue
                if next_try:
                    self.retry[self.number] = now + next_try + self.number
                added.append(self.number)
        return added

    def attempt(self, number):
        """What comes of a delivery attempt now."""
        self.retry.pop(number, None)
        self.where[number] = "gone"
        for to in self.recipients(number):
            if to.startswith("never-"):
                self.notices[f"back-{number}@src.test"] += 1
            elif to.startswith("later-") and self.later:
                self.where[number] = "deferred"
            elif not self.arrived[to]:
                self.arrived[to] = 1

    def wait(self, system):
        """Until the sink has all it should have, and the system rests."""
        deadline = time.monotonic() + TIMEOUT
        expected = {q: list(self.where.values()).count(q) for q in ("deferred", "hold", "corrupt")}
        while True:
            found = {q: self.spool.count(q) for q in expected}
            busy = self.spool.count("maildrop", "incoming", "active")
            if not busy and found == expected:
                return
            assert time.monotonic() < deadline, (found, expected, busy, system.log.tail(20))

    def check(self, listing):
        """Queues, retry times and the sink against the ledger; listing is of `postqueue -j`."""
        files = {name: os.path.join(folder, name) for queue in ("deferred", "hold")
                 for folder, _, names in os.walk(f"{self.spool.path}/{queue}") for name in names}
        found, retry = {}, {}
        for message in listing:
            number = int(re.search(r"-(\d+)@", message["sender"]).group(1))
            assert number not in found, f"mail {number} is there twice"
            found[number] = message["queue_name"]
            self.files[number] = files[message["queue_id"]]
            retry[number] = int(os.stat(self.files[number]).st_mtime)
            to = {r["address"] for r in message["recipients"]}
            undone = {a for a in self.recipients(number) if not self.arrived[a]}
            assert to == undone, (number, to, undone)
            assert all(r.get("delay_reason") for r in message["recipients"]), message
        same({n: q for n, q in self.where.items() if q in ("deferred", "hold")}, found)
        same(self.retry, {number: retry[number] for number in self.retry})
        self.retry = retry  # what was tried got a time of its own, which now has to stay
        mails, notices = collections.Counter(), collections.Counter()
        for mail in self.sink.wait(0):
            (mails if mail.sender else notices).update(mail.recipients)
        same(self.arrived, mails)
        same(self.notices, notices)
        assert self.spool.count("corrupt") == list(self.where.values()).count("corrupt")


def listings(config):
    """`postqueue -j` of both on the files alone: the logs of one are read by the other."""
    done = pp_harness.postfix_tool(config, "postqueue", "-j")
    assert done.returncode == 0, done.stderr
    theirs = done.stdout
    ours = must([pp_harness.default_binary(), "-c", config, "postqueue", "-j"])

    def read(text):
        messages = [json.loads(line) for line in text.splitlines()]
        for message in messages:
            message["recipients"] = [{k: r[k] for k in ("address", "delay_reason") if k in r}
                                     for r in message["recipients"]]
            for own in ("next_attempt", "attempts"):
                message.pop(own, None)
        return messages

    same({m["queue_id"]: m for m in read(theirs)}, {m["queue_id"]: m for m in read(ours)})
    return read(theirs)


def administrate(ledger, system, first):
    """In each ownership: one flushed, some held, some released, some deleted."""
    ids = {int(re.search(r"-(\d+)@", m["sender"]).group(1)): m["queue_id"]
           for m in map(json.loads, system.must("postqueue", "-j").splitlines())}
    held, deleted = range(first, first + 10), range(first + 10, first + 15)
    released = [n for n, queue in ledger.where.items() if queue == "hold"][:5]
    system.must("postqueue", "-i", ids[first + 15])
    ledger.attempt(first + 15)
    for option, numbers, queue in (("-H", released, "deferred"), ("-h", held, "hold"),
                                   ("-d", deleted, "gone")):
        done = system.command("postsuper", option, "-",
                              input="".join(f"{ids[number]}\n" for number in numbers))
        assert done.returncode == 0 and re.search(rf": {len(numbers)} messages", done.stderr)
        for number in numbers:
            ledger.where[number] = queue
            if queue == "gone":
                ledger.retry.pop(number, None)


def submit(ledger, system, count):
    """By sendmail of the system that is down: it stays in maildrop for the next owner."""
    for _ in range(count):
        ledger.number += 1
        done = system.command("sendmail", "-i", "-f", f"back-{ledger.number}@src.test",
                              *ledger.recipients(ledger.number),
                              input=f"Subject: {ledger.number}\n\nmail {ledger.number}\n")
        assert done.returncode == 0, done.stderr
        ledger.where[ledger.number] = "maildrop"


@pytest.mark.parametrize("theirs, ours", [
    ({"long": "no", "depth": 1}, {"long": "no", "depth": 1}),
    ({"long": "yes", "depth": 1}, {"long": "yes", "depth": 2}),
    ({"long": "no", "depth": 2}, {"long": "yes", "depth": 1})])
def test_five_times_over(scratch, root, theirs, ours):
    def shape(of):
        return {"enable_long_queue_ids": of["long"], "hash_queue_depth": str(of["depth"])}

    path = os.path.join(scratch.path, "spool")
    postfix = pp_harness.Postfix(scratch, queue_directory=path, **shape(theirs))
    pennypost = pp_harness.Pennypost(scratch, queue_directory=path, **shape(ours))
    ledger = Ledger(scratch, path, "postfix", theirs["depth"], theirs["long"] == "yes")
    tools = {}
    for system, of in ((postfix, theirs), (pennypost, ours)):
        system.relay_to(ledger.sink)
        tools[system] = pp_harness.postfix_tools_config(scratch, path, f"{system.name}-shape",
                                                        **shape(of))
    ledger.put("deferred", DEFERRED, next_try=2 * 86400)
    ledger.put("hold", HOLD, next_try=86400)
    ledger.put("corrupt", CORRUPT, mode="damaged")

    for number in range(ROUNDS):
        system, other = ((pennypost, postfix), (postfix, pennypost))[number % 2]
        before = ledger.number
        ledger.put("active", ARRIVALS)
        ledger.put("incoming", ARRIVALS)
        submit(ledger, other, ARRIVALS)
        damaged = ledger.put("incoming", DAMAGED, mode="damaged")
        due = range(1 + 40 * number, 21 + 40 * number)
        for waiting in due:
            os.utime(ledger.files[waiting], (1, time.time() - 1))
        system.start()
        for arrival in [*due, *range(before + 1, ledger.number + 1)]:
            ledger.attempt(arrival)
        ledger.where.update(dict.fromkeys(damaged, "corrupt"))
        for arrival in damaged:
            for to in ledger.recipients(arrival):
                ledger.arrived.pop(to, None)
            ledger.notices.pop(f"back-{arrival}@src.test", None)
        ledger.wait(system)
        administrate(ledger, system, 21 + 40 * number)
        ledger.wait(system)
        system.stop()
        ledger.check(listings(tools[system]))

    # In the end everything may go.
    ledger.later = False
    system = postfix.start()
    assert system.command("postsuper", "-H", "ALL").returncode == 0
    system.must("postqueue", "-f")
    for waiting in [n for n, queue in ledger.where.items() if queue in ("deferred", "hold")]:
        ledger.attempt(waiting)
    ledger.wait(system)
    system.stop()
    ledger.check([])
    assert ledger.number == 1000
