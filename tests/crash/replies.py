"""replies.py - killed behind the final reply of a receiver: who has the mail does not get it again.

fault.c kills the daemon at a chosen call after the read(2) that brought the reply: of the thread
that has read it, or of the others, who write down what came of it. A kill in that read itself is the
one moment that nobody can close: there the mail comes twice, which shows that the rest is no luck.
PENNYPOST_REPLY_KILLS: how many calls after it, one by one.
"""

import os
import smtplib

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT, Scratch

EACH = int(os.environ.get("PENNYPOST_REPLY_KILLS", "0"))
PLACES = {"reader": list(range(1, EACH + 1)) or [1, 2, 3, 5, 8],
          "others": list(range(1, EACH + 1)) or [1, 2, 4, 7, 11, 16, 22, 29, 37]}
ANSWER_PLACES = {"reader": range(1, EACH or 13), "others": range(1, EACH or 20, 1 if EACH else 3)}
WAYS = {"journal": {}, "files": {"journal": "no"}, "no_linger": {"journal_linger": "0"}}
# More than fit into one note, one who wants to be told, and one who has to wait.
MANY = [f"good{i}@dest.test" for i in range(5)]
TOLD, LATER = "told@dest.test", "slow@dest.test"
MAILS = {"one": [MANY[0]], "many": [*MANY, TOLD, LATER]}


class Run:
    def __init__(self, library, who, place, way, mail):
        self.scratch = Scratch(in_memory=True)
        self.to, self.is_later = MAILS[mail], True
        self.sink = pp_peers.Sink(self.scratch, answer=self.answer)
        system = pp_harness.Pennypost(self.scratch, maximal_backoff_time="1s", minimal_backoff_time="1s",
                                      **WAYS[way])
        self.system = system.relay_to(self.sink)
        plain = system.env
        system.env = dict(plain, LD_PRELOAD=library, FAULT_SPOOL=system.queue, FAULT_REPLY="taken-by-sink",
                          FAULT_AFTER=str(place), FAULT_WHO=who)
        system.spawn()
        system.env = plain
        system.wait_ready()

    def answer(self, verb, argument):
        if verb == "RCPT" and LATER in argument and self.is_later:
            return "450 4.2.0 later"
        return "250 2.0.0 taken-by-sink" if verb == "DOT" else None

    def first_life(self):
        """True: it was killed. Else it had no such call."""
        system = self.system
        with smtplib.SMTP("127.0.0.1", system.port, timeout=TIMEOUT) as client:
            client.ehlo("client.test")
            client.mail("sender@client.test")
            for to in self.to:
                assert client.rcpt(to, ["NOTIFY=SUCCESS"] if to == TOLD else [])[0] == 250
            try:
                assert client.data(b"Subject: it\r\n\r\nhello\r\n")[0] == 250
            except smtplib.SMTPServerDisconnected:
                pass  # the mail was faster than its 250
        self.sink.wait(1)
        try:
            system.process.wait(1)
        except Exception:  # noqa: BLE001 (too few calls in all)
            system.process.kill()
        return system.wait_exit()

    def second_life(self):
        self.is_later = False
        system = self.system
        system.start()
        system.must("postqueue", "-f")
        system.send("last@dest.test")
        with self.sink.changed:
            wanted = {*self.to, "last@dest.test"}
            assert self.sink.changed.wait_for(lambda: wanted <= set(self.arrived()), TIMEOUT), self.arrived()
            if TOLD in self.to:
                assert self.sink.changed.wait_for(lambda: self.notices(), TIMEOUT), "nobody was told"
        system.wait_empty()
        system.stop()
        assert system.queue_files() == [] and os.listdir(os.path.join(system.queue, "journal")) == []
        return [to for to in self.to if self.arrived().count(to) > 1]

    def arrived(self):
        return [to for mail in self.sink.mails for to in mail.recipients if mail.sender != ""]

    def notices(self):
        return [mail for mail in self.sink.mails if mail.sender == "" and "told@" in mail.body().decode()]


@pytest.mark.parametrize("mail", MAILS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("who", PLACES)
def test_killed_behind_the_reply(shim, root, who, way, mail):
    for place in PLACES[who]:
        run = Run(shim, who, place, way, mail)
        try:
            run.first_life()
            twice = run.second_life()
            assert not twice, f"{who}, call {place}: {twice} got it twice\n{run.scratch.report()}"
        finally:
            run.scratch.close()


def test_killed_in_the_read(shim, root):
    """The moment before: the test sees what it looks for."""
    run = Run(shim, "reader", 0, "journal", "one")
    try:
        run.first_life()
        assert run.second_life() == [MANY[0]]
    finally:
        run.scratch.close()


@pytest.mark.parametrize("way", ["journal", "files"])
def test_killed_before_its_file_has_gone_from_maildrop(scratch, shim, root, sink, way):
    """Its mail is in the queue, and may have arrived: it is not taken in again."""
    system = pp_harness.Pennypost(scratch, **WAYS[way]).relay_to(sink)
    system.start()
    system.stop()
    system.must("sendmail", "-f", "sender@client.test", "you@dest.test", input="hello\n")
    plain = system.env
    system.env = dict(plain, LD_PRELOAD=shim, FAULT_SPOOL=system.queue, FAULT_CALL="unlinkat",
                      FAULT_WHERE="maildrop", FAULT_NTH="1", FAULT_ERRNO="kill")
    system.spawn()
    system.env = plain
    assert system.wait_exit() == -9
    assert len(system.queue_files("maildrop")) == 1
    system.start()
    system.must("postqueue", "-f")
    system.send("last@dest.test")
    with sink.changed:
        sink.changed.wait_for(lambda: any("last@" in mail.recipients[0] for mail in sink.mails), TIMEOUT)
    system.wait_empty()
    system.stop()
    assert system.queue_files() == []
    ids = {mail.recipients[0]: set() for mail in sink.mails}
    for mail in sink.mails:
        ids[mail.recipients[0]].add(mail.header("Received").rsplit("id ", 1)[1].split(";")[0])
    assert len(ids) == 2 and all(len(names) == 1 for names in ids.values()), ids


@pytest.mark.parametrize("way", ["journal", "files"])
def test_killed_before_sendmail_has_its_answer(scratch, shim, root, sink, way):
    """Its mail may be in the queue or not; sendmail leaves it in maildrop, and it is sent once."""
    system = pp_harness.Pennypost(scratch, **WAYS[way]).relay_to(sink)
    plain, killed, in_doubt = system.env, 0, 0
    for who, places in ANSWER_PLACES.items():
        for place in places:
            system.env = dict(plain, LD_PRELOAD=shim, FAULT_SPOOL=system.queue, FAULT_REPLY="it-is-handed-over",
                              FAULT_AFTER=str(place), FAULT_WHO=who)
            system.spawn()
            system.env = plain
            system.wait_ready()
            system.must("sendmail", "-f", "sender@client.test", f"{who}{place}@dest.test",
                        input="Subject: it-is-handed-over\n\nhello\n")
            in_doubt += any(name.endswith("_") for name in system.queue_files("maildrop"))
            system.process.terminate()
            killed += system.wait_exit() == -9
    system.start()
    system.must("postqueue", "-f")
    system.wait_removed(system.send("last@dest.test"))
    wanted = {f"{who}{place}@dest.test" for who, places in ANSWER_PLACES.items() for place in places}
    with sink.changed:
        assert sink.changed.wait_for(
            lambda: wanted <= {to for mail in sink.mails for to in mail.recipients}, TIMEOUT)
    system.wait_empty()
    system.stop()
    left = [path for path in system.queue_files()  # half a file is nobody's mail
            if os.stat(os.path.join(system.queue, path)).st_mode & 0o700 == 0o700]
    assert left == [] and killed > 5 and in_doubt > 2, (left, killed, in_doubt)
    ids = {}
    for mail in sink.mails:
        ids.setdefault(mail.recipients[0], set()).add(
            mail.header("Received").rsplit("id ", 1)[1].split(";")[0])
    assert {to: names for to, names in ids.items() if len(names) > 1} == {}
