"""bounces.py - permanent failures and expiry: who is told, and when nobody is."""

import email
import re

import pp_harness
import pp_peers


def test_rejected_mail_goes_back(scratch, system):
    """The sender gets a multipart/report about exactly the refused recipient."""
    sink = pp_peers.Sink(scratch, answer=lambda verb, text: "550 5.1.1 no such user"
                         if verb == "RCPT" and "bad@" in text else None)
    system.relay_to(sink).start()
    queue_id = system.send(["good@dest.test", "bad@dest.test"], subject="half", body="original\r\n")
    system.wait_removed(queue_id)
    said = system.wait_status("bad@dest.test", "bounced")
    assert said["dsn"] == "5.1.1"
    note_id = system.log.wait_for(rf"bounce\[\d+\]: {queue_id}: sender non-delivery notification: "
                                  r"(\w+)").group(1)
    system.wait_removed(note_id)
    by_sender = {m.sender: m for m in sink.wait(2)}
    assert by_sender["sender@client.test"].recipients == ["good@dest.test"]
    note = by_sender[""]
    assert note.recipients == ["sender@client.test"]
    assert note.header("Subject") == "Undelivered Mail Returned to Sender"
    assert note.header("Auto-Submitted") == "auto-replied"
    parsed = email.message_from_bytes(note.data)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    text, report, original = parsed.get_payload()
    assert "bad@dest.test" in text.get_payload() and "no such user" in text.get_payload()
    assert report.get_content_type() == "message/delivery-status"
    per_message, per_recipient = report.get_payload()
    assert per_message["Reporting-MTA"] == f"dns; {system.name}.pennypost.test"
    (name,) = [n for n in per_message.keys() if re.fullmatch(r"X-\w+-Queue-ID", n)]
    assert per_message[name] == queue_id
    assert per_recipient["Final-Recipient"] == "rfc822; bad@dest.test"
    assert per_recipient["Action"] == "failed"
    assert per_recipient["Status"] == "5.1.1"
    assert per_recipient["Remote-MTA"] == "dns; 127.0.0.1"
    assert "550 5.1.1 no such user" in re.sub(r"\s+", " ", per_recipient["Diagnostic-Code"])
    assert original.get_content_type() == "message/rfc822"
    returned = original.get_payload(0)
    assert returned["Subject"] == "half" and returned["Return-Path"] == "<sender@client.test>"
    assert returned.get_payload().splitlines() == ["original"]
    assert system.queue_files() == [] and system.queue_files("bounce", "defer") == []


def test_bounce_of_a_bounce_goes_nowhere(scratch, system):
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: "550 5.0.0 no" if verb == "RCPT" else None)
    system.relay_to(sink).start()
    queue_id = system.send("bad@dest.test")
    system.wait_removed(queue_id)
    note_id = system.log.wait_for(r"sender non-delivery notification: (\w+)").group(1)
    system.wait_removed(note_id)
    assert system.queue_files() == [] and system.queue_files("bounce", "defer") == []
    assert len(system.log.find(r"notification: ")) == 1
    assert len([c for c in sink.commands if c[1] == "MAIL"]) == 2


def test_mail_from_nobody_is_not_returned(scratch, system):
    sink = pp_peers.Sink(scratch, answer=lambda verb, _: "550 5.0.0 no" if verb == "RCPT" else None)
    system.relay_to(sink).start()
    system.wait_removed(system.send("bad@dest.test", sender=""))
    assert system.queue_files() == []
    assert not system.log.find(r"sender non-delivery notification: ")


def test_big_original_is_cut_to_its_header(scratch):
    sink = pp_peers.Sink(scratch, answer=lambda verb, text: "554 5.6.0 no" if verb == "RCPT"
                         and "bad@" in text else None)
    system = pp_harness.system_under_test(scratch, bounce_size_limit="1000")
    system.relay_to(sink).start()
    system.send("bad@dest.test", subject="big", body="body of it\r\n" * 1000)
    (note,) = sink.wait(1)
    parsed = email.message_from_bytes(note.data)
    last = parsed.get_payload()[2]
    assert last.get_content_type() == "text/rfc822-headers"
    assert "Subject: big" in last.get_payload() and "body of it" not in last.get_payload()


def test_held_on_its_way(scratch, root):
    """Put on hold while the server thinks: the notice has the original all the same."""
    system = pp_harness.Pennypost(scratch)

    def answer(verb, text):
        if verb == "RCPT" and "bad@" in text:
            system.must("postsuper", "-h", "ALL")
            return "550 5.1.1 no such user"
        return None

    sink = pp_peers.Sink(scratch, answer=answer)
    system.relay_to(sink).start()
    system.wait_removed(system.send("bad@dest.test", subject="half", body="original\r\n"))
    (note,) = sink.wait(1)
    returned = email.message_from_bytes(note.data).get_payload()[2].get_payload(0)
    assert returned["Subject"] == "half" and returned.get_payload().splitlines() == ["original"]
    system.wait_removed(system.log.wait_for(r"sender non-delivery notification: (\w+)").group(1))
    assert system.queue_files() == []


def test_expired_mail_goes_back(scratch):
    """A lifetime of nothing: one attempt, then the deferral is the reason of the notice."""
    sink = pp_peers.Sink(scratch, answer=lambda verb, text: "450 4.2.0 later" if verb == "RCPT"
                         and "slow@" in text else None)
    system = pp_harness.system_under_test(scratch, maximal_queue_lifetime="0")
    system.relay_to(sink).start()
    queue_id = system.send("slow@dest.test")
    system.log.wait_for(rf"qmgr\[\d+\]: {queue_id}: from=<sender@client\.test>, status=expired, "
                        "returned to sender")
    system.wait_removed(queue_id)
    (note,) = sink.wait(1)
    assert note.recipients == ["sender@client.test"]
    report = email.message_from_bytes(note.data).get_payload()[1].get_payload()[1]
    assert (report["Action"], report["Status"]) == ("failed", "4.2.0")
