"""queue_tools.py - the spool is Postfix's: its tools read ours, and either takes the other's over."""

import os
import re

import pp_harness
import pp_peers
import pp_spool
import pytest

DEFER = {"RCPT": "450 4.2.0 try later"}


def deferring(scratch, system, count=3):
    """A system with so many deferred mails and one on hold; returns (sink, ids, held id)."""
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: DEFER.get(verb))
    system.relay_to(sink).start()
    ids = [system.send([f"a{i}@one.test", f"b{i}@two.test"], subject=f"mail {i}",
                       sender=f"s{i}@client.test", body="x" * 60 * i + "\r\n")
           for i in range(count)]
    for queue_id in ids:
        system.wait_deferred(queue_id)
    held = system.send("held@one.test", sender="", subject="held")
    system.wait_deferred(held)
    assert system.command("postsuper", "-h", held).returncode == 0
    return sink, ids, held


def paragraphs(listing):
    """The messages of a `postqueue -p`: order is the directory's, so compare as a set."""
    header, _, messages = listing.partition("\n")
    return {header} | {re.sub(r"\s+", " ", p).strip() for p in messages.split("\n\n")}


def test_tools_of_postfix_read_our_spool(scratch, root):
    system = pp_harness.Pennypost(scratch)
    _, ids, held = deferring(scratch, system)
    ours = system.must("postqueue", "-p")
    system.stop()
    config = pp_harness.postfix_tools_config(scratch, system.queue)

    listing = pp_harness.postfix_tool(config, "postqueue", "-p").stdout
    assert f"{held}!" in listing and "MAILER-DAEMON" in listing
    for queue_id in ids:
        assert re.search(rf"(?m)^{queue_id} ", listing), listing
    assert listing.count("450 4.2.0 try later (in reply to RCPT TO command)") == 4
    assert paragraphs(listing) == paragraphs(ours)
    assert paragraphs(system.must("postqueue", "-p")) == paragraphs(listing)

    for queue_id in ids + [held]:
        theirs = pp_harness.postfix_tool(config, "postcat", "-q", queue_id)
        assert theirs.returncode == 0 and theirs.stderr == "", theirs.stderr
        assert theirs.stdout == system.must("postcat", "-q", queue_id)
        assert "*** MESSAGE FILE END " in theirs.stdout

    shape = pp_harness.postfix_tool(config, "qshape", "deferred").stdout
    assert re.search(r"(?m)^ +TOTAL +6 +6 ", shape), shape
    assert re.search(r"(?m)^ +one\.test +3 +3 ", shape), shape


def without_additions(text):
    """Our own keys stand behind Postfix's."""
    return re.sub(r', "(next_attempt|attempts|relay|dsn)": (\d+|"[^"]*")', "", text)


def test_json_is_that_of_postfix(scratch, root):
    system = pp_harness.Pennypost(scratch)
    deferring(scratch, system)
    ours = without_additions(system.must("postqueue", "-j"))
    system.stop()
    config = pp_harness.postfix_tools_config(scratch, system.queue)
    theirs = pp_harness.postfix_tool(config, "postqueue", "-j").stdout
    assert sorted(ours.splitlines()) == sorted(theirs.splitlines())
    ours = without_additions(system.must("postqueue", "-j"))
    assert sorted(ours.splitlines()) == sorted(theirs.splitlines())


def test_postfix_finds_nothing_to_repair(scratch, root):
    """Names follow no inode here, which postsuper -s would mend: anything else it must leave."""
    system = pp_harness.Pennypost(scratch)
    deferring(scratch, system)
    system.stop()
    config = pp_harness.postfix_tools_config(scratch, system.queue)
    before = {os.path.basename(f) for f in system.queue_files()}
    done = pp_harness.postfix_tool(config, "postsuper", "-p")
    assert done.returncode == 0
    assert {os.path.basename(f) for f in system.queue_files()} == before


def test_takeover_of_a_stopped_postfix(scratch, root):
    postfix = pp_harness.Postfix(scratch)
    sink, ids, held = deferring(scratch, postfix, 10)
    postfix.stop()
    dropped = postfix.command("sendmail", "-f", "me@client.test", "late@one.test",
                              input="Subject: in maildrop\n\nhello\n")
    assert dropped.returncode == 0, dropped.stderr
    sink.answer = None

    system = pp_harness.Pennypost(scratch, queue_directory=postfix.queue).relay_to(sink).start()
    system.must("postqueue", "-f")
    mails = sink.wait(11)
    for queue_id in ids:
        system.wait_removed(queue_id)
    system.wait_status("late@one.test", "sent")
    by_subject = {m.header("Subject"): m for m in mails}
    for number in range(10):
        mail = by_subject[f"mail {number}"]
        assert sorted(mail.recipients) == [f"a{number}@one.test", f"b{number}@two.test"]
        assert mail.sender == f"s{number}@client.test"
        assert mail.body() == b"x" * 60 * number + b"\r\n"
    assert [os.path.basename(f) for f in system.queue_files()] == [held]
    system.must("postsuper", "-H", held)
    system.must("postqueue", "-f")
    system.wait_removed(held)
    assert len(sink.mails) == 12


def test_postfix_takes_ours_over(scratch, root):
    system = pp_harness.Pennypost(scratch)
    sink, ids, held = deferring(scratch, system, 10)
    system.stop()
    sink.answer = None
    postfix = pp_harness.Postfix(scratch, queue_directory=system.queue).relay_to(sink).start()
    postfix.must("postqueue", "-f")
    mails = sink.wait(10)
    assert {m.header("Subject") for m in mails} == {f"mail {i}" for i in range(10)}
    postfix.log.wait_for(r": removed", count=10)
    assert len(postfix.queue_files("hold")) == 1
    assert len(ids) == 10 and held


def test_postfix_and_pennypost_exclude_each_other(scratch, root):
    postfix = pp_harness.Postfix(scratch).start()
    system = pp_harness.Pennypost(scratch, queue_directory=postfix.queue)
    code, said = system.fails()
    assert code != 0
    with open(os.path.join(postfix.queue, "pid/master.pid"), encoding="ascii") as file:
        assert file.read().strip() in said


@pytest.mark.parametrize("long_ids", ["no", "yes"])
def test_ids_of_both_shapes(scratch, root, long_ids):
    system = pp_harness.Pennypost(scratch, enable_long_queue_ids=long_ids)
    _, ids, _ = deferring(scratch, system, 1)
    shape = r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}" if long_ids == "yes" else r"[0-9A-F]{10,}"
    assert re.fullmatch(shape, ids[0])
    listing = system.must("postqueue", "-p")
    first = "----Queue ID-----" if long_ids == "yes" else "-Queue ID-"
    assert listing.startswith(first)
    system.stop()
    config = pp_harness.postfix_tools_config(scratch, system.queue,
                                             enable_long_queue_ids=long_ids)
    assert paragraphs(pp_harness.postfix_tool(config, "postqueue", "-p").stdout) == \
        paragraphs(listing)


HOSTILE = [
    # sender, recipients, reasons of the first of them
    ("a\tb\x01@c.test", ["x\x7f\r\x1b[2J@e.test", 'say "hi"@e.test', "plain@e.test"],
     ["tab\there\x01\x7f", "bell\x07 feed\x0c return\r", "\rreturn first"]),
    ("two words@c d", ["..@..", " ", "@", "a@", "@b", "lead @x", "a b@x\ty"], []),
    ("back\\slash\"quote@x", ["\x01\x02@x", "tab\t"], []),
]


def test_hostile_bytes(scratch, root):
    """What mail has that somebody else put there: to the byte as Postfix shows it."""
    system = pp_harness.Pennypost(scratch)
    spool = pp_spool.Spool(system.queue)
    for number, (sender, recipients, reasons) in enumerate(HOSTILE):
        data, offsets = pp_spool.queue_file(sender, recipients, 1795000000, number,
                                            [b"Subject: hostile", b"", b"text"])
        log = pp_spool.defer_log([(to, at, "4.0.0", why, "")
                                  for to, at, why in zip(recipients, offsets, reasons)])
        with pp_spool.as_user(spool.owner):
            spool.put("deferred", data, 1795000000, number, 1795000000, log if reasons else None)
    config = pp_harness.postfix_tools_config(scratch, system.queue)
    theirs = pp_harness.postfix_tool(config, "postqueue", "-j").stdout
    ours = without_additions(system.must("postqueue", "-j"))
    assert sorted(ours.splitlines()) == sorted(theirs.splitlines())
    theirs = pp_harness.postfix_tool(config, "postqueue", "-p").stdout
    assert paragraphs(system.must("postqueue", "-p")) == paragraphs(theirs)


@pytest.mark.parametrize("old, new", [(b"C\x5f             32", b"C\x5f             -5"),
                                      (b"1795000000 5", b"0000000000 5")])
def test_damaged_numbers(scratch, root, old, new):
    """A size or an arrival that cannot be: those of the file instead, as Postfix does."""
    system = pp_harness.Pennypost(scratch)
    spool = pp_spool.Spool(system.queue)
    data, _ = pp_spool.queue_file("s@x.test", ["r@x.test"], 1795000000, 5,
                                  [b"Subject: numbers", b"", b"text in it"])
    assert old in data
    with pp_spool.as_user(spool.owner):
        spool.put("deferred", data.replace(old, new, 1), 1795000000, 5, 1796000000)
    config = pp_harness.postfix_tools_config(scratch, system.queue)
    theirs = pp_harness.postfix_tool(config, "postqueue", "-j").stdout
    assert without_additions(system.must("postqueue", "-j")) == theirs
