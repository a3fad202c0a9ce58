"""listing.py - what a running daemon lists from its memory is what the files say, piece by piece."""

import json
import os
import pwd
import socket
import subprocess
import time

import pp_harness
import pp_scratch
import pp_spool
import pytest

YEAR = 365 * 86400
MESSAGE = ("queue_name", "queue_id", "time", "size", "forced_expire", "sender", "next_attempt",
           "attempts")
SANITIZED = os.environ.get("PENNYPOST_SANITIZE")  # its own memory is measured along
HEAD = "protocol\0mail_queue_list_protocol\0\0"


def connect(system, order):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(pp_scratch.TIMEOUT)
    client.connect(f"{system.queue}/public/{'showq' if order is None else 'pennypost'}")
    if order is not None:
        client.sendall(order.encode() + b"\n")
    return client


def read_all(client):
    parts = []
    while True:
        part = client.recv(1 << 20)
        if not part:
            return b"".join(parts).decode("utf-8", "surrogateescape")
        parts.append(part)


def parse(text):
    """The messages as dictionaries, in order; the stream has to be whole."""
    assert text.startswith(HEAD), text[:200]
    messages = []
    strings = text[len(HEAD):].split("\0")
    at, message = 0, {"recipients": []}
    while True:
        name = strings[at]
        if name == "":
            if not message["recipients"] and len(message) == 1:
                assert strings[at + 1:] == [""], "something behind the end"
                return messages
            messages.append(message)
            message, at = {"recipients": []}, at + 1
            continue
        value = strings[at + 1]
        if name in MESSAGE:
            message[name] = value
        elif name == "recipient":
            message["recipients"].append({"recipient": value})
        else:
            message["recipients"][-1][name] = value
        at += 2


def listed(system, order="list"):
    return parse(read_all(connect(system, order)))


def by_id(messages):
    rows = {message["queue_id"]: message for message in messages}
    assert len(rows) == len(messages), "one is listed twice"
    return rows


def plain(message):
    """What Postfix's protocol has of it, as postqueue -j shows it."""
    return {"queue_name": message["queue_name"], "queue_id": message["queue_id"],
            "arrival_time": int(message["time"]), "message_size": int(message["size"]),
            "forced_expire": message["forced_expire"] == "1", "sender": message["sender"],
            "recipients": [
                {"address": r["recipient"], **({"delay_reason": r["reason"]} if r["reason"] else {})}
                for r in message["recipients"]]}


def shown(message):
    """All of it as our postqueue -j shows it: our additions stand with each recipient."""
    row = plain(message)
    for recipient, told in zip(row["recipients"], message["recipients"]):
        if "next_attempt" in message:
            recipient["next_attempt"] = int(message["next_attempt"])
            recipient["attempts"] = int(message["attempts"])
        recipient.update({key: told[key] for key in ("relay", "dsn") if key in told})
    return row


def shape(spool, queue, sender, recipients, log=None, attempts=0, mode=0o700, done=(), number=0):
    """One mail of a shape of its own; log entries as of pp_spool, with offsets by place."""
    seconds = int(time.time()) - 1000 - number
    data, offsets = pp_spool.queue_file(sender, recipients, seconds, number * 37 % 1000000,
                                        [b"Subject: shape", b"", b"text"])
    data = bytearray(data)
    for place in done:
        assert data[offsets[place]:offsets[place] + 1] == b"R"
        data[offsets[place]:offsets[place] + 1] = b"D"
    entries = [(recipients[at], offsets[at], *rest) for at, *rest in log or ()]
    with pp_spool.as_user(spool.owner):
        name = spool.put(queue, bytes(data), seconds, number * 37 % 1000000, seconds + YEAR,
                         pp_spool.defer_log(entries) if entries else None)
        path = next(os.path.join(folder, name) for folder, _, names in os.walk(f"{spool.path}/{queue}")
                    if name in names)
        os.utime(path, ns=((seconds + YEAR) * 10**9, (seconds + YEAR) * 10**9 + attempts))
        os.chmod(path, mode)
    return name


def odd_shapes(spool, start=100000):
    """Every shape a listing has to show; returns the ids."""
    many = [f"user{n}@many{n % 9}.example.net" for n in range(3000)]
    some = [f"user{n}@some.example.net" for n in range(60)]
    later = ("4.2.0", "host mx[192.0.2.1] said: 450 4.2.0 <%s>: later", "mx.example.net")

    def entry(at, to):
        return (at, later[0], later[1] % to, later[2])

    cases = [
        dict(sender="", recipients=["u@one.test"]),
        dict(sender="s@x.test", recipients=["u@one.test"], attempts=1),
        dict(sender="s@x.test", recipients=["u@one.test"], log=[entry(0, "u@one.test")],
             attempts=99999),
        dict(sender='odd local"@x.test', recipients=["a b@one.test", "nodomain", '"@one.test']),
        dict(sender="grüße@x.test", recipients=["früh@späť.test"],
             log=[(0, "4.0.0", "grün & \\ \"quoted\" <früh@späť.test>", "")]),
        dict(sender="s@x.test", recipients=some, log=[entry(n, some[n]) for n in range(0, 60, 2)]),
        dict(sender="s@x.test", recipients=some, log=[entry(n, some[n]) for n in range(60)],
             done=range(30)),
        dict(sender="s@x.test", recipients=many, log=[entry(n, many[n]) for n in range(2500)]),
        dict(sender="s@x.test", recipients=["u@one.test"], mode=0o710),
        dict(sender="s@x.test", recipients=["u@one.test", "v@one.test"],
             log=[(0, "4.4.1", "x" * 1900, "none"), (1, "4.4.1", "y" * 3000, "")]),
        dict(sender="l" * 900 + "@x.test", recipients=["r" * 900 + "@one.test"]),
        dict(sender="s@x.test", recipients=["u@one.test"] * 3, log=[entry(1, "u@one.test")]),
        dict(sender="s@x.test", recipients=["u@one.test", "v@one.test"], done=(0, 1)),
    ]
    ids = [shape(spool, "deferred", number=start + n, **case) for n, case in enumerate(cases)]
    ids += [shape(spool, "hold", number=start + 100 + n, **case) for n, case in enumerate(cases)]
    ids.append(shape(spool, "hold", "s@x.test", many, number=start + 300))
    return ids


@pytest.fixture
def stopped(scratch, root):
    """A system that delivers nothing, its spool empty: (system, spool)."""
    system = pp_harness.Pennypost(scratch, defer_transports="smtp", mail_owner="postfix")
    system.relay_to(type("Nobody", (), {"port": 1}))
    spool = pp_spool.Spool(system.queue)
    uid, gid, _ = pwd.getpwnam("postfix")[2:5]
    os.makedirs(system.main["data_directory"], exist_ok=True)
    os.chown(system.main["data_directory"], uid, gid)
    return system, spool


def files_say(system):
    done = system.command("postqueue", "-j")
    assert done.returncode == 0, done.stderr
    return by_id([json.loads(line) for line in done.stdout.splitlines()])


def check_same(system, rows):
    """Whatever is in memory by now and whatever is read."""
    extended = by_id(listed(system))
    assert extended.keys() == rows.keys()
    for queue_id, message in extended.items():
        assert shown(message) == rows[queue_id], queue_id
    showq = listed(system, None)
    assert all("next_attempt" not in message for message in showq)
    assert {q: plain(m) for q, m in by_id(showq).items()} == {q: plain(m) for q, m in extended.items()}
    assert all(set(r) == {"recipient", "reason"} for m in showq for r in m["recipients"])


def test_same_as_the_files(stopped):
    system, spool = stopped
    spool.fill(2000, next_try=YEAR)
    odd_shapes(spool)
    rows = files_say(system)
    assert len(rows) == 2000 + 27
    system.start()
    for _ in range(5):  # from the files at first, and more and more from memory
        check_same(system, rows)
    tool = pp_harness.postfix_tool(
        pp_harness.postfix_tools_config(system.scratch, system.queue, mail_owner="postfix"),
        "postqueue", "-j")
    assert tool.returncode == 0, tool.stderr
    theirs = by_id([json.loads(line) for line in tool.stdout.splitlines()])
    ours = {q: plain(m) for q, m in by_id(listed(system, None)).items()}
    assert theirs.keys() == ours.keys()
    for queue_id, row in theirs.items():
        assert (row["message_size"], row["arrival_time"], len(row["recipients"])) == \
            (ours[queue_id]["message_size"], ours[queue_id]["arrival_time"],
             len(ours[queue_id]["recipients"]))
    system.stop()
    after = files_say(system)
    assert after == rows


def test_order_of_queues(stopped):
    system, spool = stopped
    spool.fill(300, next_try=YEAR)
    for number in range(30):
        shape(spool, "hold", "s@x.test", ["u@one.test"], number=number)
    system.start()
    names = [message["queue_name"] for message in listed(system)]
    assert names == ["deferred"] * 300 + ["hold"] * 30


def test_empty(stopped):
    system, _ = stopped
    system.start()
    assert listed(system) == [] == listed(system, None)


def test_a_client_that_does_not_read(stopped):
    system, spool = stopped
    spool.fill(20000, next_try=YEAR, lines=1)
    system.start()
    while len(listed(system)) != 20000:
        pass
    before = system.private_kib()
    slow = [connect(system, order) for order in ("list", None) * 8]
    assert all(client.recv(10) for client in slow)
    assert len(listed(system)) == 20000
    # The index of the 20,000 may still have been growing.
    assert SANITIZED or system.private_kib() - before < 16 * 800, "a slow client costs more than it should"
    # Mail goes on, half of them hang up, the others get all of it.
    system.wait_deferred(system.send("new@one.test"))
    for client in slow[:8]:
        client.close()
    for client in slow[8:]:
        rest = read_all(client)
        assert rest.endswith("\0\0")
        assert 20000 <= rest.count("queue_id\0") <= 20001
    assert len(listed(system)) == 20001
    system.stop()


def test_stop_while_clients_wait(stopped):
    system, spool = stopped
    spool.fill(5000, next_try=YEAR, lines=1)
    system.start()
    clients = [connect(system, order) for order in ("list", None) * 4]
    assert all(client.recv(10) for client in clients)
    clients[0].close()
    system.stop()
    for client in clients[1:]:
        client.close()


def test_what_becomes_active_meanwhile(stopped):
    """Its reader is slow, and what it has not come to yet is flushed: it is there the whole time."""
    system, spool = stopped
    ids = spool.fill(3000, next_try=YEAR, lines=1)
    hole = socket.create_server(("127.0.0.1", 0))
    system.write_config(defer_transports="", relayhost=f"[127.0.0.1]:{hole.getsockname()[1]}")
    system.start()
    while len(listed(system)) != 3000:
        pass
    slow = [connect(system, order) for order in ("list", None)]
    assert all(client.recv(len(HEAD)) for client in slow)
    flushed = ids[::300]
    for queue_id in flushed:
        system.must("postqueue", "-i", queue_id)
    system.log.wait_for("queue active", count=len(flushed))
    for client in slow:
        assert sorted(m["queue_id"] for m in parse(HEAD + read_all(client))) == sorted(ids)
        client.close()
    hole.close()


def test_what_stays_is_listed_once(stopped):
    """While others are deleted, put back, held, released and deferred."""
    system, spool = stopped
    stay = set(spool.fill(3000, next_try=YEAR, lines=1))
    go = spool.fill(600, first=3000, next_try=YEAR, lines=1)
    held = spool.fill(300, first=4000, next_try=YEAR, lines=1)
    system.start()
    commands = [("postsuper", "-d", "-"), ("postsuper", "-h", "-"), ("postsuper", "-H", "-")]
    rounds = [(commands[0], go[:300]), (commands[1], held), (commands[0], go[300:]),
              (commands[2], held)]
    for command, ids in rounds:
        for part in range(0, len(ids), 100):
            process = subprocess.Popen(system.argv(*command), stdin=subprocess.PIPE, text=True,
                                       stderr=subprocess.DEVNULL)
            process.stdin.write("\n".join(ids[part:part + 100]))
            process.stdin.close()
            system.send(f"new{part}@one.test")
            while True:
                ended = process.poll() is not None
                seen = [m["queue_id"] for m in listed(system)]
                assert len([i for i in seen if i in stay]) == len(stay) == len(stay & set(seen))
                if ended:
                    break
    left = by_id(listed(system))
    assert not set(go) & left.keys()
    assert set(held) <= left.keys()


def test_flush_of_a_site(stopped):
    """From memory and, for what memory does not hold, from the files."""
    system, spool = stopped
    spool.fill(400, next_try=YEAR, domains=4, lines=1)
    recipients = [f"user{n}@other{n}.example.net" for n in range(150)]
    shape(spool, "deferred", "s@x.test", recipients + ["last@Domain2.Example.NET"], number=5)
    shape(spool, "deferred", "s@domain2.example.net", recipients, number=6)
    shape(spool, "deferred", "s@x.test", ["u@domain2.example.net", "v@one.test"], done=[0], number=7)
    system.write_config(fast_flush_domains="domain2.example.net")
    system.start()
    mark = system.log.mark()
    system.must("postqueue", "-s", "domain2.example.net")
    later = time.time() + YEAR / 2
    system.log.wait_for("to=<last@domain2.example.net>|to=<last@Domain2.Example.NET>", since=mark)

    def moved():
        return [m for m in listed(system) if int(m.get("next_attempt", 0)) < later]
    while len(moved()) < 101 or any("next_attempt" not in m for m in moved()):
        pass
    assert len(moved()) == 101
    assert all(any(r["recipient"].lower().endswith("@domain2.example.net") for r in m["recipients"])
               for m in moved())
    assert len(system.log.find(r": to=<user2@domain2\.example\.net>", since=mark)) == 1
