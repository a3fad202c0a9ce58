"""neighbour.py - nobody is hammered, nobody waits for somebody else's trouble: rates over restart and
kill, one probe where we were told off or rejected, all mail at once when the cause is gone."""

import re
import socket
import time

import pp_harness
import pp_peers
from pp_scratch import most_in

LONG = {"minimal_backoff_time": "600s", "maximal_backoff_time": "4000s", "queue_run_delay": "600s"}


def burst(port, count, to="user@dest.test", sessions=4, **options):
    return pp_peers.smtp_source(port, "-s", sessions, "-m", count, to=to, **options)


class Clocked:
    """Notes when each MAIL command came."""

    def __init__(self):
        self.times = []

    def __call__(self, verb, _argument):
        if verb == "MAIL":
            self.times.append(time.monotonic())


def test_rate_over_restart_and_kill(system, scratch):
    seen = Clocked()
    sink = pp_peers.Sink(scratch, answer=seen)
    system.write_config(relayhost=f"[127.0.0.1]:{sink.port}", default_destination_rate_limit="30/2s",
                        shutdown_timeout="1s", **LONG)
    system.start()
    burst(system.port, 150)
    sink.wait(30)
    listing = system.must("postqueue", "-p")
    assert "rate limit 30/2s of smtp:[127.0.0.1]" in listing, listing
    system.stop()
    system.start()
    sink.wait(60)
    system.kill()
    system.start()
    sink.wait(150, timeout=60)
    assert len(set(m.header("Message-Id") for m in sink.mails)) >= 1
    assert most_in(seen.times, 2) <= 30, most_in(seen.times, 2)
    # And no slower than it may be: 150 at 30 in 2 s are 8 s and what the two starts took.
    assert seen.times[-1] - seen.times[0] < 25


def test_rate_of_each_transport(scratch):
    """Two transports to one receiver, each with its rate, over kills at odd moments and reloads: never
    more in any period, over all loops."""
    seen = {"slow": [], "quick": []}

    def answer(verb, argument):
        if verb == "MAIL":
            seen["slow" if "slow" in argument else "quick"].append(time.monotonic())
        return None

    sink = pp_peers.Sink(scratch, answer=answer, keep=False)
    table = scratch.file("transport", "".join(f"{name}.test {name}:[127.0.0.1]:{sink.port}\n" for name in seen))
    system = pp_harness.Pennypost(scratch, services=pp_harness.SMTPD + "".join(
        f"{name} unix - - n - - smtp\n" for name in seen), transport_maps=f"texthash:{table}",
        slow_destination_rate_limit="5/1s, 8/2s", quick_destination_rate_limit="20/1s", **LONG)
    system.start()
    for name in seen:
        burst(system.port, 30, to=f"user@{name}.test", sender=f"s@{name}.test", sessions=8)
    for count in (8, 20, 30):
        with sink.changed:
            assert sink.changed.wait_for(lambda count=count: sink.accepted >= count, 60)
        system.kill()
        system.start()
        system.reload()
    sink.wait(60, timeout=90)
    assert most_in(seen["slow"], 1) <= 5 and most_in(seen["slow"], 2) <= 8 and most_in(seen["quick"], 1) <= 20


def test_told_off_gets_one_probe(system, scratch):
    """421: a flush of many mails is one connection, and the rest comes when that succeeded."""
    angry = [True]

    def answer(verb, _argument):
        if angry[0] and verb == "CONNECT":
            return "421 4.7.0 too much mail from you"
        return None

    sink = pp_peers.Sink(scratch, answer=answer)
    system.relay_to(sink)
    system.write_config(relayhost=f"[127.0.0.1]:{sink.port}", **LONG)
    system.start()
    burst(system.port, 60)
    system.log.wait_for("status=deferred", count=60)
    system.events.wait_for("^deferred ", count=60)
    first = sink.connections
    assert first <= 10, first
    for _ in range(3):
        before, mark = sink.connections, system.log.mark()
        system.must("postqueue", "-f")
        system.log.wait_for(r"status=deferred \(host .* refused to talk", since=mark)
        system.events.wait_for("^deferred ")
        assert sink.connections == before + 1
    angry[0] = False
    system.must("postqueue", "-f")
    sink.wait(60)


def test_flush_of_a_site_revives_no_other(scratch):
    """Of two dead hosts one is tried again, and not once for each of its mails. Postfix revives all."""
    port = scratch.port()
    table = scratch.file("transport", "".join(f"{name}.test smtp:[127.0.0.{n}]:{port}\n"
                                              for n, name in ((2, "one"), (3, "two"))))
    system = pp_harness.Pennypost(scratch, transport_maps=f"texthash:{table}",
                                  fast_flush_domains="one.test two.test", **LONG)
    system.start()
    for site in ("one", "two"):
        burst(system.port, 40, to=f"user@{site}.test")
        system.log.wait_for(f"to=<user@{site}.test>.*status=deferred", count=40)
    while len(system.queue_files("deferred")) < 80:
        pass
    mark = system.log.mark()
    system.must("postqueue", "-s", "one.test")
    tried = r"to=<user@one.test>.*status=deferred \(connect to"
    system.log.wait_for(tried, since=mark)
    system.wait_deferred(system.send("user@two.test"))
    assert "temporarily suspended" in system.wait_status("user@two.test", "deferred", since=mark)["text"]
    assert 1 <= len(system.log.find(tried, since=mark)) <= 10


def test_relay_answers_again(system, scratch):
    """Refused connections: what waits goes soon after the relay is back, not after its backoff."""
    port = scratch.port()
    system.write_config(relayhost=f"[127.0.0.1]:{port}", **LONG)
    system.start()
    burst(system.port, 200)
    system.events.wait_for("^deferred ", count=200)
    sink = pp_peers.Sink(scratch, port=port)
    sink.wait(200, timeout=30)


def test_what_failed_alone_waits_for_its_own_time(system, scratch):
    """Mail that breaks every connection is not tried again whenever other mail gets through, or fails."""
    def answer(verb, argument):
        return "" if verb == "RCPT" and "<drop@" in argument else None

    sink = pp_peers.Sink(scratch, answer=answer)
    system.write_config(relayhost=f"[127.0.0.1]:{sink.port}", **LONG)
    system.start()
    for _ in range(2):
        system.wait_deferred(system.send("drop@dest.test", sender="a@app.test"))
        for _ in range(3):
            system.wait_removed(system.send("user@dest.test", sender="a@app.test"))
    assert len(system.log.find("to=<drop@dest.test>.* status=deferred")) == 2
    assert sum("<drop@" in argument for _, verb, argument in sink.commands if verb == "RCPT") == 2


def test_dead_receiver_is_tried_with_few(system, scratch):
    """When its time is over a dead host gets a first window of mail; the rest stays where it is."""
    port = scratch.port()
    system.write_config(relayhost=f"[127.0.0.1]:{port}", minimal_backoff_time="2s",
                        maximal_backoff_time="4000s")
    system.start()
    burst(system.port, 300)
    system.events.wait_for("^deferred ", count=300)
    mark = system.log.mark()
    system.log.wait_for(r"status=deferred \(connect to", since=mark, count=9)
    active = sum("(queue active)" in line for line in system.log.lines[mark:])
    assert active <= 30, active
    sink = pp_peers.Sink(scratch, port=port)
    sink.wait(300, timeout=30)


def test_password_is_corrected(system, scratch):
    """One AUTH while the password is wrong, however much waits and however often somebody flushes;
    all of it when the file is right."""
    seen = []

    def answer(verb, argument):
        if verb == "AUTH":
            seen.append(argument)
            good = argument.endswith("AGthdGUAcmlnaHQ=")  # kate, right
            return "235 2.7.0 ok" if good else "535 5.7.8 no"
        return None

    sink = pp_peers.Sink(scratch, answer=answer, extensions=("PIPELINING", "AUTH PLAIN"))
    path = scratch.file(f"{scratch.path}/sasl", f"[127.0.0.1]:{sink.port} kate:wrong\n", mode=0o644)
    system.write_config(relayhost=f"[127.0.0.1]:{sink.port}", smtp_sasl_auth_enable="yes",
                        smtp_sasl_password_maps=f"texthash:{path}",
                        smtp_sasl_security_options="noanonymous", **LONG)
    system.start()
    burst(system.port, 50)
    system.events.wait_for("^deferred ", count=50)
    system.must("postqueue", "-f")
    burst(system.port, 10)
    system.events.wait_for("^deferred ", count=60)
    assert len(seen) == 1, seen
    assert "SASL authentication failed" in system.must("postqueue", "-p")
    scratch.file(path, f"[127.0.0.1]:{sink.port} kate:right\n", mode=0o644)
    sink.wait(60, timeout=20)
    assert sum(not a.endswith("AGthdGUAcmlnaHQ=") for a in seen) == 1


def test_resolver_is_back(system, scratch):
    sink = pp_peers.Sink(scratch)
    zone = {"dest.test": "@ MX 10 mx\nmx A 127.0.0.1\n", "other.test": "@ MX 10 mx\nmx A 127.0.0.1\n"}
    dns = pp_peers.Dns(scratch, zone)
    dns.stop()
    system.write_config(relayhost="", smtp_tcp_port=str(sink.port), dns_timeout="1s",
                        dns_resolvers=f"127.0.0.1:{dns.port}", smtp_host_lookup="dns",
                        smtp_dns_resolver_options="", **LONG)
    system.start()
    burst(system.port, 20)
    burst(system.port, 20, to="user@other.test")
    system.events.wait_for("^deferred ", count=40)
    dns.process, dns.log = scratch.start(["/usr/sbin/nsd", "-d", "-c", f"{dns.folder}/nsd.conf"], "nsd2")
    sink.wait(40, timeout=40)


def test_bulk_does_not_delay_a_single_mail(system, scratch):
    """5,000 recipients in one message, and then one: at a receiver that takes two at a time."""
    order = []

    def answer(verb, argument):
        if verb == "RCPT":
            order.append("single" if "single" in argument else "bulk")
            time.sleep(0.002)
        return None

    sink = pp_peers.Sink(scratch, answer=answer, keep=False)
    system.write_config(relayhost=f"[127.0.0.1]:{sink.port}", default_destination_recipient_limit="10",
                        default_destination_concurrency_limit="2", smtpd_recipient_limit="10000", **LONG)
    system.start()
    with system.client() as client:
        client.sendmail("news@client.test", [f"u{i}@dest.test" for i in range(5000)],
                        "Subject: news\r\n\r\nnews\r\n")
    sink.wait(3)
    system.send("single@dest.test")
    with sink.changed:
        assert sink.changed.wait_for(lambda: "single" in order, 30)
    ahead = len(order)
    assert ahead < 2500, ahead
    system.log.wait_for(": removed", count=2, timeout=60)
    assert order.count("bulk") == 5000


def test_a_hole_does_not_fill_the_active_queue(system, scratch):
    """A host that takes connections and never says a word holds ten times as much mail as the active
    queue has places; another one's mail passes."""
    sink = pp_peers.Sink(scratch)
    hole = socket.create_server(("127.0.0.2", sink.port), backlog=500)
    scratch.on_exit(hole.close)
    dns = pp_peers.Dns(scratch, {"dead.test": "@ MX 10 mx\nmx A 127.0.0.2\n",
                                 "dest.test": "@ MX 10 mx\nmx A 127.0.0.1\n"})
    system.write_config(relayhost="", smtp_tcp_port=str(sink.port), dns_resolvers=f"127.0.0.1:{dns.port}",
                        smtp_host_lookup="dns", qmgr_message_active_limit="200", **LONG)
    system.start()
    burst(system.port, 2000, to="user@dead.test", sessions=10)
    began = time.monotonic()
    system.send("user@dest.test")
    sink.wait(1, timeout=30)
    assert time.monotonic() - began < 15
    # It is not put off again and again: once is enough.
    burst(system.port, 20)
    sink.wait(21, timeout=30)
    text = "\n".join(system.log.lines)
    aside = re.findall(r": (\w+): to=<user@dead.test>.*messages wait for dead.test", text)
    assert len(aside) >= 100, len(aside)
    assert len(aside) == len(set(aside))


def live_delays(system, sink, count, to="user@dest.test"):
    """Seconds from the 250 to the receiver's, of one mail behind the other."""
    delays, client = [], system.client()
    for _ in range(count):
        before = sink.accepted
        system.send(to, client=client)
        began = time.monotonic()
        sink.wait(before + 1, timeout=60)
        delays.append(time.monotonic() - began)
    return sorted(delays)


def test_dead_receivers_delay_nobody(system, scratch):
    """3,000 mails for a host that refuses and one that never says a word; what is sent to others
    meanwhile goes at once."""
    sink = pp_peers.Sink(scratch)
    hole = socket.create_server(("127.0.0.2", sink.port), backlog=500)
    scratch.on_exit(hole.close)
    table = scratch.file("transport", "".join(f"{name}.test smtp:[127.0.0.{n}]:{sink.port}\n" for n, name in (
        (1, "dest"), (2, "silent"), (3, "refuses"))))
    system.write_config(transport_maps=f"texthash:{table}", **LONG)
    system.start()
    live_delays(system, sink, 1)
    sources = [pp_peers.smtp_source(system.port, "-s", 5, "-m", 1500, to=f"user@{name}.test", wait=False,
                                    scratch=scratch)[0] for name in ("silent", "refuses")]
    delays = []
    while any(source.poll() is None for source in sources) or len(delays) < 50:
        delays += live_delays(system, sink, 10)
    system.must("postqueue", "-f")
    delays += live_delays(system, sink, 20)
    assert sorted(delays)[len(delays) // 2] < 1, delays
    assert max(delays) < 10, delays


def test_slow_domains_leave_places(system, scratch):
    """150 hosts that take connections and do not answer have all the places they may have; a host that
    took mail before still gets its own at once."""
    sink = pp_peers.Sink(scratch)
    taken = []
    for n in range(150):
        taken.append(socket.create_server((f"127.0.1.{n + 1}", sink.port), backlog=50))
        scratch.on_exit(taken[-1].close)
    table = scratch.file("transport", f"dest.test smtp:[127.0.0.1]:{sink.port}\n")
    system.write_config(relayhost="", smtp_tcp_port=str(sink.port), default_process_limit="100",
                        transport_maps=f"texthash:{table}", **LONG)
    system.start()
    live_delays(system, sink, 1)
    client = system.client()
    for n in range(150):
        system.send(f"user@[127.0.1.{n + 1}]", client=client)
    for listener in taken[:80]:
        listener.settimeout(30)
        taken.append(listener.accept()[0])
    delays = live_delays(system, sink, 20)
    assert delays[-1] < 5, delays
    for sock in taken:
        sock.close()
