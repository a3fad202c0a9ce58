"""queue_commands.py - mailq, postqueue, postsuper and postcat, with the daemon up and down."""

import json
import os
import socket
import re

import pp_harness
import pp_peers
import pytest


@pytest.fixture
def queue(scratch, root):
    """A system with three deferred mails: (system, sink, ids). The sink takes mail once its answer
    is None."""
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: "450 4.2.0 later" if verb == "RCPT" else None)
    system = pp_harness.system_under_test(scratch)
    system.relay_to(sink).start()
    ids = []
    for number in range(3):
        ids.append(system.send(f"user{number}@dest.test", subject=f"mail {number}"))
        system.wait_deferred(ids[-1])
    return system, sink, ids


def is_ours(system):
    return isinstance(system, pp_harness.Pennypost)


@pytest.fixture(params=["up", "down"])
def state(request, queue):
    if request.param == "down":
        queue[0].stop()
    return request.param


def summary(done):
    """Where the summary line goes: stderr, as all information of these commands."""
    return done.stderr.strip().splitlines()[-1].split(": ", 1)[1] if done.stderr.strip() else ""


def test_mailq(queue, state):
    system, _, ids = queue
    done = system.command("mailq")
    assert done.returncode == 0
    assert re.match(r"-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n",
                    done.stdout)
    for number, queue_id in enumerate(ids):
        assert re.search(rf"(?m)^{queue_id} +\d+ \w{{3}} \w{{3}} [ \d]\d \d\d:\d\d:\d\d  "
                         rf"sender@client\.test\n *\(.*450 4\.2\.0 later \(in reply to RCPT TO "
                         rf"command\)\)\n {{41}}user{number}@dest\.test\n", done.stdout), done.stdout
    assert re.search(r"\n-- \d+ Kbytes in 3 Requests\.\n$", done.stdout)
    # The order of messages is nobody's promise.
    again = system.command("sendmail", "-bp").stdout
    assert sorted(again.splitlines()) == sorted(done.stdout.splitlines())
    if state == "down":
        assert "Mail system is down" in done.stderr
    else:
        assert done.stderr == ""


def test_empty_queue(relayed, root):
    done = relayed.command("mailq")
    assert (done.returncode, done.stdout) == (0, "Mail queue is empty\n")
    done = relayed.command("postqueue", "-j")
    assert (done.returncode, done.stdout) == (0, "")


def test_json(queue, state):
    system, sink, ids = queue
    done = system.command("postqueue", "-j")
    rows = {row["queue_id"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(rows) == set(ids)
    row = rows[ids[1]]
    assert list(row) == ["queue_name", "queue_id", "arrival_time", "message_size", "forced_expire",
                         "sender", "recipients"]
    assert (row["queue_name"], row["sender"]) == ("deferred", "sender@client.test")
    (recipient,) = row["recipients"]
    assert list(recipient.items())[:2] == [
        ("address", "user1@dest.test"),
        ("delay_reason", "host 127.0.0.1[127.0.0.1] said: 450 4.2.0 later (in reply to RCPT TO "
         "command)")]
    if is_ours(system):
        assert list(recipient)[2:] == ["next_attempt", "attempts", "relay", "dsn"]
        assert recipient["next_attempt"] > row["arrival_time"] and recipient["attempts"] == 1
        assert (recipient["relay"], recipient["dsn"]) == ("127.0.0.1", "4.2.0")
    else:
        assert len(recipient) == 2


def test_json_counts_attempts(queue):
    """Each round that fails is one; the next one is later."""
    system, _, ids = queue
    if not is_ours(system):
        pytest.skip("Postfix does not count")
    first = json.loads(system.command("postqueue", "-j").stdout.splitlines()[0])["recipients"][0]
    for count in (2, 3):
        system.must("postqueue", "-f")
        for queue_id in ids:
            system.wait_deferred(queue_id, count=count)
        for line in system.command("postqueue", "-j").stdout.splitlines():
            (recipient,) = json.loads(line)["recipients"]
            assert recipient["attempts"] == count
            assert recipient["next_attempt"] >= first["next_attempt"]


def test_flush_one(queue):
    system, sink, ids = queue
    sink.answer = None
    done = system.command("postqueue", "-i", ids[1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    system.wait_removed(ids[1])
    assert len(sink.mails) == 1


def test_flush_all(queue):
    system, sink, ids = queue
    sink.answer = None
    system.must("sendmail", "-q")
    for queue_id in ids:
        system.wait_removed(queue_id)


def test_flush_site(scratch, root):
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: "450 4.2.0 later" if verb == "RCPT" else None)
    system = pp_harness.system_under_test(scratch, fast_flush_domains="one.test two.test")
    system.relay_to(sink).start()
    one = system.send("user@one.test")
    system.wait_deferred(one)
    two = system.send("user@two.test")
    system.wait_deferred(two)
    sink.answer = None
    system.must("postqueue", "-s", "one.test")
    system.wait_removed(one)
    assert [os.path.basename(f) for f in system.queue_files()] == [two]


def test_flush_unknown_id_is_silent(queue):
    system = queue[0]
    done = system.command("postqueue", "-i", "0123456789")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_flush_needs_the_daemon(queue):
    system = queue[0]
    system.stop()
    done = system.command("postqueue", "-f")
    assert done.returncode == 69
    assert "postqueue: fatal: Cannot flush mail queue - mail system is down" in done.stderr


def test_delete(queue, state):
    system, sink, ids = queue
    done = system.command("postsuper", "-d", ids[0])
    assert done.returncode == 0
    assert summary(done) == "Deleted: 1 message"
    assert f"postsuper: {ids[0]}: removed" in done.stderr
    assert ids[0] not in system.command("mailq").stdout
    assert {os.path.basename(f) for f in system.queue_files()} == set(ids[1:])
    assert {os.path.basename(f) for f in system.queue_files("defer")} == set(ids[1:])


def test_delete_ids_from_stdin(queue, state):
    system, _, ids = queue
    done = system.command("postsuper", "-d", "-", input="\n".join(ids[:2]) + "\n")
    assert (done.returncode, summary(done)) == (0, "Deleted: 2 messages")
    assert {os.path.basename(f) for f in system.queue_files()} == {ids[2]}


def test_delete_all_of_a_queue(queue, state):
    system, _, ids = queue
    system.must("postsuper", "-h", ids[0])
    done = system.command("postsuper", "-d", "ALL", "deferred")
    assert (done.returncode, summary(done)) == (0, "Deleted: 2 messages")
    assert [os.path.basename(f) for f in system.queue_files()] == [ids[0]]


def test_hold_and_release(queue, state):
    system, sink, ids = queue
    done = system.command("postsuper", "-h", ids[0], "-h", ids[1])
    assert (done.returncode, summary(done)) == (0, "Placed on hold: 2 messages")
    listing = system.command("mailq").stdout
    assert f"{ids[0]}!" in listing and f"{ids[1]}!" in listing and f"{ids[2]}!" not in listing
    sink.answer = None
    if state == "down":
        system.start()
    system.must("postqueue", "-f")
    system.wait_removed(ids[2])
    assert {os.path.basename(f) for f in system.queue_files()} == set(ids[:2])
    done = system.command("postsuper", "-H", "ALL")
    assert (done.returncode, summary(done)) == (0, "Released from hold: 2 messages")
    system.must("postqueue", "-f")
    system.wait_removed(ids[0])
    system.wait_removed(ids[1])


def test_requeue(queue, state):
    system, sink, ids = queue
    sink.answer = None
    mark = system.log.mark()
    done = system.command("postsuper", "-r", ids[0])
    assert (done.returncode, summary(done)) == (0, "Requeued: 1 message")
    if state == "down":
        system.start()
        mark = 0
    system.must("postqueue", "-f")
    fresh = system.log.wait_for(rf"pickup\[\d+\]: (\w+): .*orig_id={ids[0]}", since=mark).group(1)
    system.wait_removed(fresh)
    by_subject = {m.header("Subject"): m for m in sink.mails}
    assert by_subject["mail 0"].recipients == ["user0@dest.test"]
    assert by_subject["mail 0"].data.count(b"Subject:") == 1


def test_requeue_waits_for_the_running_attempt(scratch):
    """Taken in again at once it would be delivered twice: by the delivery that runs, and anew."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        system = pp_harness.Pennypost(
            scratch, relayhost=f"[127.0.0.1]:{silent.getsockname()[1]}").start()
        queue_id = system.send("user@dest.test")
        connection, _ = silent.accept()
        done = system.command("postsuper", "-r", queue_id)
        assert (done.returncode, summary(done)) == (0, "Requeued: 1 message")
        assert system.queue_files() == [f"active/{queue_id}"]
        system.write_config(shutdown_timeout="1ms")
        system.reload()
        system.stop()
        connection.close()
    assert [os.path.basename(f) for f in system.queue_files()] == [queue_id]


def test_unknown_id(queue, state):
    system = queue[0]
    for option, text in (("-d", "Deleted"), ("-h", "Placed on hold"), ("-r", "Requeued")):
        done = system.command("postsuper", option, "0123456789")
        assert done.returncode == 0
        assert summary(done) in (f"{text}: 0 messages", "")
    assert len(system.queue_files()) == 3


def test_invalid_id(queue):
    system = queue[0]
    done = system.command("postsuper", "-d", "../../etc/passwd")
    assert "warning: invalid mail queue id: ../../etc/passwd" in done.stderr
    assert len(system.queue_files()) == 3
    done = system.command("postqueue", "-i", "bad id!")
    assert done.returncode == 69
    assert 'fatal: Cannot flush queue ID - invalid name: "bad id!"' in done.stderr


@pytest.mark.parametrize("command, options, code, text", [
    ("postqueue", [], 69, "usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p "
     "| postqueue -s site"),
    ("postqueue", ["-Z"], 69, "usage: postqueue"),
    ("postqueue", ["-p", "-f"], 69, "usage: postqueue"),
    ("postsuper", ["-Z"], 1, "usage: postsuper"),
    ("postsuper", ["-d", "ALL", "nosuchqueue"], 1, "invalid directory name: nosuchqueue"),
    ("postcat", ["-Z"], 1, "usage: postcat"),
    ("postcat", ["-q", "0123456789"], 1, "open queue file 0123456789: No such file or directory"),
    ("postcat", ["-q", "no/id"], 1, "bad mail queue ID: no/id"),
    ("postcat", ["-q", "-q", "-e", "--", "-b"], 1, "bad mail queue ID: -b"),
    ("postcat", ["nofile", "-q"], 1, "open nofile: No such file or directory"),
    ("sendmail", ["-bz", "a@b.test"], 64, "unsupported: -bz"),
])
def test_wrong_usage(queue, command, options, code, text):
    done = queue[0].command(command, *options)
    assert done.returncode == code, done.stderr
    assert f"{command}: fatal: " in done.stderr and text in done.stderr


def test_postcat(queue, state):
    system, _, ids = queue
    done = system.command("postcat", "-q", ids[2])
    assert done.returncode == 0
    for text in (f"*** ENVELOPE RECORDS deferred/{ids[2][0]}/{ids[2]} ***",
                 "sender: sender@client.test", f"*** MESSAGE CONTENTS deferred/", "Subject: mail 2",
                 "*** HEADER EXTRACTED ", "recipient: user2@dest.test", "*** MESSAGE FILE END "):
        assert text in done.stdout, done.stdout
    assert system.command("postcat", "-bq", ids[2]).stdout == "\nhello\n"
    assert "Subject: mail 2" in system.command("postcat", "-hq", ids[2]).stdout


def test_postsuper_is_for_root(queue):
    system = queue[0]
    done = system.command("postsuper", "-d", "ALL", user="nobody", group="nogroup", extra_groups=[])
    assert done.returncode != 0
    assert "use of this command is reserved for the superuser" in done.stderr
    assert len(system.queue_files()) == 3


def test_deleted_by_hand(queue):
    """Files removed behind the daemon's back are forgotten, not an error."""
    system, sink, ids = queue
    for path in system.queue_files("deferred"):
        os.remove(os.path.join(system.queue, path))
    sink.answer = None
    system.must("postqueue", "-f")
    system.wait_removed(system.send("fresh@dest.test"))
    assert [m.recipients for m in sink.mails] == [["fresh@dest.test"]]
