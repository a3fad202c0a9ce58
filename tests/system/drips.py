"""drips.py - a receiver that keeps every single time limit does not keep a delivery for ever.

All limits are Postfix's defaults, minutes each; the whole has two seconds, and a byte comes now and then.
"""

import pp_harness
import pp_script
from pp_scratch import SLOW, TIMEOUT

LOST = "conversation with H timed out while "
CASES = f"""
[greeting]
at CONNECT drip 200 220 peer ESMTP and on and on
a deferred 4.4.2 {LOST}receiving the initial server greeting
[ehlo]
at CONNECT drip 60 220 peer ESMTP
at EHLO drip 60 250 peer and on and on and on
a deferred 4.4.2 {LOST}performing the EHLO handshake
[handshake]
offers STARTTLS
at STARTTLS say 220 2.0.0 go on
at STARTTLS drip 200 \\x16\\x03\\x03\\x10\\x00 and on and on and on
a deferred 4.7.5 Cannot start TLS: handshake failure
[recipients]
offers nothing
to 3
at RCPT drip 60 250 2.1.5 Ok, go on
a deferred 4.4.2 {LOST}sending RCPT TO
b deferred 4.4.2 {LOST}sending RCPT TO
c deferred 4.4.2 {LOST}sending RCPT TO
[each in time]
to 3
at MAIL drip 40 250 2.1.0 Ok
at RCPT drip 40 250 2.1.5 Ok
at DATA drip 40 354 go on
a deferred 4.4.2 {LOST}sending
b deferred 4.4.2 {LOST}sending
c deferred 4.4.2 {LOST}sending
[content]
big
at BODY take 3000
at BODY silence
a deferred 4.4.2 {LOST}sending message body
[dot]
at DOT drip 200 250 2.0.0 taken and on and on
a deferred 4.4.2 {LOST}sending end of data -- message may be sent more than once
[quit]
at QUIT drip 200 221 2.0.0 bye and on and on
a sent 2.0.0 250 2.0.0 taken
[slow but good]
at MAIL drip 20 250 2.1.0 Ok
a sent 2.0.0 250 2.0.0 taken
"""


def test_the_whole_has_a_limit(scratch):
    cases = pp_script.parse(scratch.file("cases", CASES))
    servers = pp_script.Servers(scratch, cases)
    system = pp_harness.Pennypost(
        scratch, smtp_tcp_port=str(servers.port), smtp_tls_security_level="may",
        smtp_connection_cache_on_demand="no", smtp_skip_quit_response="no", smtp_quit_timeout=f"{2 * SLOW}s",
        smtp_transaction_time_limit=f"{2 * SLOW}s", smtp_min_data_rate="1000000000").start()
    client = system.client()
    for case in cases:
        body = ("0123456789" * 7 + "\r\n") * (120000 if case.is_big else 1)
        system.send([f"{who}@[{servers.address[case.name]}]" for who in case.recipients], body=body,
                    client=client)
    for case in cases:
        address = servers.address[case.name]
        for who, want in case.outcomes("").items():
            said = system.wait_status(f"{who}@[{address}]", r"\w+")
            text = said["text"].replace(f"{address}[{address}]", "H")
            assert said["dsn"] == want.dsn and text.startswith(want.text), (case.name, said[0])
            assert f"status={want.status}" in said[0], (case.name, said[0])
    # Nobody keeps a connection either, but who reads nothing more and so does not see it end.
    servers.wait_quiet(TIMEOUT)
