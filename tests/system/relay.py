"""relay.py - the main job: mail comes in, is kept, and goes out unchanged."""

import pp_peers


def test_one_mail_is_relayed(relayed, sink):
    queue_id = relayed.send("user@dest.test", body="hello\r\n..dot\r\n")
    relayed.wait_removed(queue_id)
    (mail,) = sink.wait(1)
    assert mail.sender == "sender@client.test"
    assert mail.recipients == ["user@dest.test"]
    assert mail.body() == b"hello\r\n..dot\r\n"
    assert mail.header("Received").startswith("from client.test (")
    assert relayed.queue_files() == []
