"""protocol.py - what the client makes of a server that speaks properly."""

import socket
import threading

import pp_harness
import pp_peers


def test_keywords_by_address(scratch, sink):
    """The table says what is ignored of this server; without an entry the parameter does."""
    system = pp_harness.Pennypost(
        scratch, smtp_discard_ehlo_keywords="8bitmime",
        smtp_discard_ehlo_keyword_address_maps="inline:{ {127.0.0.1 = pipelining, dsn} }")
    system.relay_to(sink).start()
    client = system.client()
    client.ehlo()
    assert client.mail("a@client.test", ["BODY=8BITMIME", "RET=HDRS"])[0] == 250
    assert client.rcpt("b@dest.test")[0] == 250
    assert client.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    sink.wait(1)
    mail = [argument for _, verb, argument in sink.commands if verb == "MAIL"]
    assert "BODY=8BITMIME" in mail[0] and "RET" not in mail[0], mail


def test_dsn_parameters_are_passed_on(scratch, system):
    """RFC 3461 4: to a server that offers DSN; else the sender hears that nobody will tell more."""
    plain = pp_peers.Sink(scratch, extensions=("PIPELINING",))
    able = pp_peers.Sink(scratch)
    system.relay_to(able).start()
    client = system.client()
    client.ehlo()
    assert client.mail("a@client.test", ["RET=HDRS", "ENVID=x+2By"])[0] == 250
    assert client.rcpt("b@dest.test", ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;o+2Bo@x.test"])[0] == 250
    assert client.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    able.wait(1)
    said = {verb: argument for _, verb, argument in able.commands}
    assert "RET=HDRS" in said["MAIL"] and "ENVID=x+2By" in said["MAIL"]
    assert "NOTIFY=SUCCESS,DELAY" in said["RCPT"] and "ORCPT=rfc822;o+2Bo@x.test" in said["RCPT"]
    assert system.log.find("delivery status notification") == []
    system.relay_to(plain).reload()
    assert client.mail("a@client.test", ["ENVID=x"])[0] == 250
    assert client.rcpt("b@dest.test", ["NOTIFY=SUCCESS"])[0] == 250
    assert client.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    notice = next(mail for mail in plain.wait(2) if mail.sender == "")
    assert b"Action: relayed" in notice.data and notice.recipients == ["a@client.test"]


class Sipper:
    """Takes the content in sips: `size` bytes each time it is told to."""

    def __init__(self, scratch):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port = self.socket.getsockname()[1]
        self.taken = 0
        threading.Thread(target=self._run, daemon=True).start()
        scratch.on_exit(self.socket.close)

    def _run(self):
        peer, _ = self.socket.accept()
        peer.sendall(b"220 peer ESMTP\r\n")
        file = peer.makefile("rb")
        for reply in (b"250 peer", b"250 Ok", b"250 Ok", b"354 go on"):
            file.readline()
            peer.sendall(reply + b"\r\n")
        peer.settimeout(None)
        pause = threading.Event()
        try:
            while not pause.wait(0.01):  # 100 sips a second, so 400 KB
                data = peer.recv(4096)
                if not data:
                    return
                self.taken += len(data)
        except OSError:
            pass


def test_slow_receiver_and_deadline(scratch):
    """A receiver that takes less than smtp_min_data_rate does not hold the delivery."""
    peer = Sipper(scratch)
    system = pp_harness.Pennypost(scratch, smtp_per_request_deadline="yes",
                                  smtp_min_data_rate="1000000000", smtp_data_xfer_timeout="2s",
                                  message_size_limit="0").relay_to(peer).start()
    system.send("user@dest.test", body=("x" * 78 + "\r\n") * 300000)
    said = system.wait_status("user@dest.test", "deferred")
    assert said["dsn"] == "4.4.2"
    assert said["text"] == ("conversation with 127.0.0.1[127.0.0.1] timed out while sending message "
                            "body")
