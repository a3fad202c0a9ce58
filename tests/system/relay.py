"""relay.py - the main job: mail comes in, is kept, and goes out unchanged."""

import email
import re

import pp_harness
import pp_peers
from pp_scratch import must


def test_one_mail_is_relayed(relayed, sink):
    queue_id = relayed.send("user@dest.test", body="hello\r\n..dot\r\n")
    relayed.wait_removed(queue_id)
    (mail,) = sink.wait(1)
    assert mail.sender == "sender@client.test"
    assert mail.recipients == ["user@dest.test"]
    assert mail.body() == b"hello\r\n..dot\r\n"
    assert re.fullmatch(
        r"from client\.test \(\S+ \[127\.0\.0\.1\]\)\r\n"
        rf"\tby {relayed.name}\.pennypost\.test \(.+\) with ESMTP id {queue_id}\r\n"
        r"\tfor <user@dest\.test>; \w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)",
        mail.header("Received")), mail.header("Received")
    assert relayed.queue_files() == []


def test_log_lines_are_those_of_postfix(relayed, sink):
    queue_id = relayed.send("user@dest.test", subject="lines")
    relayed.wait_removed(queue_id)
    relayed.log.wait_for(r"disconnect from ")
    text = "\n".join(relayed.log.lines)
    stamp = rf"^\w{{3}} [ \d]\d \d\d:\d\d:\d\d {relayed.name} postfix/"
    for line in (
            r"smtpd\[\d+\]: connect from \S+\[127\.0\.0\.1\]$",
            rf"smtpd\[\d+\]: {queue_id}: client=\S+\[127\.0\.0\.1\]$",
            rf"cleanup\[\d+\]: {queue_id}: message-id=<lines@client\.test>$",
            rf"qmgr\[\d+\]: {queue_id}: from=<sender@client\.test>, size=\d+, nrcpt=1 "
            r"\(queue active\)$",
            rf"smtp\[\d+\]: {queue_id}: to=<user@dest\.test>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:"
            rf"{sink.port}, delay=[\d.]+, delays=[\d.]+/[\d.]+/[\d.]+/[\d.]+, dsn=2\.0\.0, "
            r"status=sent \(250 2\.0\.0 Ok\)$",
            rf"qmgr\[\d+\]: {queue_id}: removed$",
            r"smtpd\[\d+\]: disconnect from \S+\[127\.0\.0\.1\] ehlo=1 mail=1 rcpt=1 data=1 quit=1 "
            r"commands=5$"):
        assert re.search(stamp + line, text, re.M), f"{line}\n{text}"


def test_many_recipients_one_transaction(relayed, sink):
    people = [f"user{i}@dest.test" for i in range(30)]
    relayed.wait_removed(relayed.send(people))
    (mail,) = sink.wait(1)
    assert sorted(mail.recipients) == sorted(people)
    assert "for <" not in mail.header("Received")


def test_content_arrives_byte_for_byte(relayed, sink):
    body = (b"8-bit \xff\xfe\x80, a tab\t, a line of 900:\r\n" + b"x" * 900 + b"\r\n.\r\n..\r\n...\r\n"
            b"trailing blanks   \r\n\r\n\r\nFrom the start\r\n").decode("utf-8", "surrogateescape")
    relayed.wait_removed(relayed.send("user@dest.test", body=body))
    (mail,) = sink.wait(1)
    assert mail.body() == body.encode("utf-8", "surrogateescape")


def test_load_of_smtp_source(relayed, sink):
    pp_peers.smtp_source(relayed.port, "-s", 20, "-l", 4096, "-m", 500)
    sink.wait(500)
    relayed.log.wait_for(r": removed", count=500)
    assert len(sink.mails) == 500
    assert relayed.queue_files() == []


def test_connections_are_reused(relayed, sink):
    pp_peers.smtp_source(relayed.port, "-s", 4, "-m", 200)
    sink.wait(200)
    assert sink.connections < 100, sink.connections


def test_swaks_pipelines(relayed, sink):
    must(["swaks", "--server", f"127.0.0.1:{relayed.port}", "--from", "a@client.test",
          "--to", "b@dest.test,c@dest.test", "--pipeline", "--silent", "2",
          "--header", "Subject: by swaks", "--attach", "@/etc/hostname"])
    (mail,) = sink.wait(1)
    assert mail.header("Subject") == "by swaks"
    assert email.message_from_bytes(mail.data).is_multipart()


def test_deferred_then_flushed(scratch, system):
    answers = {"MAIL": "451 4.3.0 not now"}
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: answers.get(verb))
    system.relay_to(sink).start()
    queue_id = system.send("user@dest.test")
    said = system.wait_status("user@dest.test", "deferred")
    assert said["dsn"] == "4.3.0"
    assert said["text"] == (f"host 127.0.0.1[127.0.0.1] said: 451 4.3.0 not now "
                            "(in reply to MAIL FROM command)")
    system.wait_deferred(queue_id)
    listing = system.must("postqueue", "-p")
    assert queue_id in listing and "451 4.3.0 not now" in listing
    answers.clear()
    system.must("postqueue", "-f")
    system.wait_removed(queue_id)
    assert len(sink.mails) == 1


def test_relayhosts_are_tried_in_order(scratch, system, sink):
    """The first refuses connections, the second greets with 421, the third takes the mail."""
    busy = pp_peers.Sink(scratch, answer=lambda verb, _: "421 4.3.2 busy" if verb == "CONNECT"
                         else None)
    closed = scratch.port()
    system.write_config(relayhost=f"[127.0.0.1]:{closed}, [127.0.0.1]:{busy.port}, "
                        f"[127.0.0.1]:{sink.port}")
    system.start()
    system.wait_removed(system.send("user@dest.test"))
    sink.wait(1)
    system.log.wait_for(rf"connect to 127\.0\.0\.1\[127\.0\.0\.1\]:{closed}: Connection refused")


def test_ipv6(scratch):
    sink = pp_peers.Sink(scratch, address="::1")
    system = pp_harness.system_under_test(scratch, inet_protocols="all",
                                          relayhost=f"[::1]:{sink.port}").start()
    system.wait_removed(system.send("user@dest.test"))
    system.wait_status("user@dest.test", "sent")
    assert re.search(r"relay=::1\[::1\]:", "\n".join(system.log.lines))


def test_bigger_than_the_server_takes(scratch, system):
    sink = pp_peers.Sink(scratch, extensions=("SIZE 1000", "PIPELINING"))
    system.relay_to(sink).start()
    system.send("user@dest.test", sender="", body="x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 50)
    said = system.wait_status("user@dest.test", "bounced")
    assert said["dsn"] == "5.3.4"
    assert re.match(r"message size \d+ exceeds size limit 1000 of server 127\.0\.0\.1\[", said["text"])


def test_no_more_connections_than_deliveries(scratch, sink):
    """The limit of a destination is what its server sees, idle connections included. None is closed
    before the end, however slow the machine is: the sink counts all it ever had."""
    system = pp_harness.Pennypost(scratch, smtp_destination_concurrency_limit="3",
                                  smtp_connection_cache_time_limit="1h",
                                  qmgr_message_active_limit="5").relay_to(sink).start()
    client = system.client()
    for number in range(150):
        system.send(f"user{number}@dest.test", client=client)
    sink.wait(150)
    assert sink.connections <= 3
