"""resources.py - small: memory and processes. How quick is measured in tests/bench."""

import os
import subprocess
import time

import pp_harness
import pp_peers
import pytest

sanitized = pytest.mark.skipif(bool(os.environ.get("PENNYPOST_SANITIZE")),
                               reason="a sanitizer's own memory is measured along")


@sanitized
def test_a_big_mail_needs_little_memory(scratch):
    """50 MB pass with less than 10 MB of growth; the largest value of many, taken while it runs."""
    sink = pp_peers.Sink(scratch, keep=False)
    system = pp_harness.Pennypost(scratch, message_size_limit="60000000").relay_to(sink).start()
    system.wait_removed(system.send("first@dest.test"))
    before = system.private_kib()
    client = system.client()
    client.ehlo()
    client.docmd("MAIL FROM:<a@client.test>")
    client.docmd("RCPT TO:<b@dest.test>")
    client.docmd("DATA")
    most = before
    block = (b"z" * 998 + b"\r\n") * 1000
    for _ in range(50):
        client.sock.sendall(block)
        most = max(most, system.private_kib())
    client.sock.sendall(b".\r\n")
    code, answer = client.getreply()
    assert code == 250, answer
    queue_id = answer.split()[-1].decode()
    while not system.log.find(rf"{queue_id}: removed"):
        most = max(most, system.private_kib())
    assert sink.accepted == 2
    assert most - before < 10 * 1024, f"{before} KiB before, {most} KiB at most"


@sanitized
def test_idle_memory_and_one_process(scratch, sink):
    """A start's left-overs are given back soon; a third of Postfix's memory is 860 KiB."""
    system = pp_harness.Pennypost(scratch).relay_to(sink).start()
    idle, deadline = system.private_kib(), time.monotonic() + pp_harness.TIMEOUT
    while idle > 860 and time.monotonic() < deadline:
        time.sleep(0.1)
        idle = system.private_kib()
    assert idle <= 860, f"{idle} KiB"
    with open(f"/proc/{system.pid()}/task/{system.pid()}/children", encoding="ascii") as file:
        assert file.read().split() == []


@sanitized
def test_memory_does_not_grow_with_the_mails(scratch, sink):
    system = pp_harness.Pennypost(scratch).relay_to(sink).start()
    pp_peers.smtp_source(system.port, "-s", 10, "-m", 500)
    sink.wait(500)
    before = system.private_kib()
    for _ in range(3):
        pp_peers.smtp_source(system.port, "-s", 10, "-m", 500)
    sink.wait(2000)
    assert system.private_kib() - before < 4 * 1024


def test_it_gives_up_root(scratch, root, sink):
    system = pp_harness.Pennypost(scratch).relay_to(sink).start()
    with open(f"/proc/{system.pid()}/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    owner = subprocess.run(["id", "-u", "postfix"], stdout=subprocess.PIPE, check=True)
    assert set(status["Uid"].split()) == {owner.stdout.decode().strip()}
    assert "0" not in status["Groups"].split()
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    for task in os.listdir(f"/proc/{system.pid()}/task"):
        with open(f"/proc/{system.pid()}/task/{task}/status", encoding="ascii") as file:
            assert "Uid:\t0" not in file.read()
