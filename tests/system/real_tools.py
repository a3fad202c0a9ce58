"""real_tools.py - programs of Debian that read Postfix's log or queue count right with ours."""

import collections
import os
import re
import time
import urllib.error
import urllib.request

import pp_foreign
import pp_harness
import pp_hour
import pp_scratch
import pytest


@pytest.fixture(scope="module")
def debian():
    return pp_foreign.unpacked()


class Exporter:
    """prometheus-postfix-exporter, following a log from its end and asking the showq socket."""

    def __init__(self, scratch, debian, system):
        self.port = scratch.port()
        self.process, self.log = scratch.start(
            [f"{debian}/usr/bin/prometheus-postfix-exporter",
             f"--web.listen-address=127.0.0.1:{self.port}",
             f"--postfix.showq_path={system.queue}/public/showq",
             f"--postfix.logfile_path={system.logfile}"], "exporter")
        self.log.wait_for("Listening on")
        # It begins at the end of the log, some time after it said so: show it lines until it counts.
        with open(system.logfile, "a", encoding="ascii") as log:
            while not self.values().get("postfix_unsupported_log_entries_total"):
                print(time.strftime("%b %e %T"), "probe postfix/probe[1]: probe", file=log, flush=True)

    def values(self):
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
                    text = answer.read().decode()
                break
            except urllib.error.URLError:  # it says that it listens before it does
                assert self.process.poll() is None
        found = {}
        for name, labels, value in re.findall(r"(?m)^(postfix\w+)(?:\{(.*)\})? (\S+)$", text):
            found[name, labels] = float(value)
            if "le=" not in labels:
                found[name] = found.get(name, 0) + float(value)
        return found

    def wait(self, name, value):
        """All values, when this one has come: the log is read in the exporter's own time."""
        deadline = time.monotonic() + pp_scratch.TIMEOUT
        while True:
            values = self.values()
            if values.get(name, 0) >= value or time.monotonic() > deadline:
                return values


def spread_over_an_hour(path, target):
    """The same log with other times: what ran in seconds fills yesterday's 10:00 to 10:59:59."""
    day = time.strftime("%b %e", time.localtime(time.time() - 86400))
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if "postfix/probe" not in line]
    with open(target, "w", encoding="utf-8") as file:
        for number, line in enumerate(lines):
            minute, second = divmod(3600 * number // len(lines), 60)
            file.write(f"{day} 10:{minute:02}:{second:02}{line[15:]}")


@pytest.fixture(scope="module")
def hour(ca, debian):
    """One hour for all tests here; they only read what it has left."""
    if not pp_scratch.is_root():
        pytest.skip("needs root")
    scratch = pp_scratch.Scratch()
    try:
        system = pp_harness.system_under_test(scratch)
        hour = pp_hour.Hour(scratch, system, ca)
        hour.exporter = Exporter(scratch, debian, system)
        hour.run()
        hour.path = os.path.join(scratch.path, "hour.log")
        spread_over_an_hour(system.logfile, hour.path)
        yield hour
    except AssertionError:
        print(scratch.report())
        raise
    finally:
        scratch.close()


def test_exporter_counts_the_log(hour):
    made = hour.made
    found = hour.exporter.wait("postfix_qmgr_messages_removed_total", made["removed"])
    tls = len(hour.provider.log.find("TLS connection established from"))
    activated = made["accepted"] + made["notices"] + made["retries"]
    expected = {
        "postfix_smtpd_messages_processed_total": made["received"] - made["submitted"],
        "postfix_smtpd_messages_rejected_total": made["rejected"],
        "postfix_smtpd_connects_total": made["connections"],
        "postfix_smtpd_disconnects_total": made["connections"],
        ("postfix_smtpd_connections_lost_total", 'after_stage="CONNECT"'): made["lost"],
        "postfix_cleanup_messages_processed_total": made["accepted"] + made["notices"],
        "postfix_qmgr_messages_inserted_receipients_count": activated,
        "postfix_qmgr_messages_inserted_receipients_sum": activated + made["second recipients"],
        "postfix_qmgr_messages_inserted_size_bytes_sum":
            made["bytes received"] + made["notice bytes"] + made["tried again bytes"],
        "postfix_qmgr_messages_removed_total": made["removed"],
        "postfix_smtp_status_deferred": made["deferrals"],
        # four stages of each attempt
        "postfix_smtp_delivery_delay_seconds_count":
            4 * (made["sent"] + made["deferrals"] + made["bounced"]),
        "postfix_smtp_tls_connections_total": tls,
        "postfix_smtpd_sasl_authentication_failures_total": 0,
    }
    expected.update({("postfix_smtpd_messages_rejected_total", f'code="{code}"'):
                     made[f"rejected {code}"] for code in (454, 504, 550)})
    assert {name: found.get(name) for name in expected} == expected


def test_exporter_asks_for_the_queue(hour):
    found = hour.exporter.values()
    elapsed = time.time() - hour.begun + 1
    assert found["postfix_up"] == 1
    for queue in ("deferred", "hold"):
        sizes, label = hour.queued(queue), f'queue="{queue}"'
        assert found["postfix_showq_message_size_bytes_count", label] == len(sizes)
        assert found["postfix_showq_message_size_bytes_sum", label] == sum(sizes)
        assert found["postfix_showq_message_age_seconds_count", label] == len(sizes)
        old = 6 * pp_hour.DAY if queue == "hold" else 0
        age = found["postfix_showq_message_age_seconds_sum", label]
        assert old <= age <= old + len(sizes) * elapsed
    for queue in ("maildrop", "incoming", "active"):
        assert found["postfix_showq_message_size_bytes_count", f'queue="{queue}"'] == 0


def test_pflogsumm(hour):
    made = hour.made
    report = pp_scratch.must(["/usr/sbin/pflogsumm", "--verbose-msg-detail", hour.path])
    totals = dict(reversed(m) for m in re.findall(
        r"(?m)^ +(\d+) {3}(\w[\w /]*\w)", report.split("Per-Hour")[0]))
    expected = {"received": "accepted", "delivered": "sent", "deferred": "deferrals",
                "bounced": "bounced", "rejected": "rejected", "bytes received": "bytes received",
                "bytes delivered": "bytes delivered"}
    assert {name: int(totals[name]) for name in expected} == \
        {name: made[key] for name, key in expected.items()}
    assert int(totals["senders"]) == len(hour.senders)
    assert int(totals["recipients"]) == len(hour.recipients)
    for nothing in ("forwarded", "reject warnings", "held", "discarded"):
        assert totals[nothing] == "0"

    hours = re.findall(r"(?m)^ +(\d\d)00-\d{4} +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)", report)
    for name, *counts in hours:
        assert [int(count) for count in counts] == (
            [made["accepted"], made["sent"], made["deferrals"], made["bounced"], made["rejected"]]
            if name == "10" else [0] * 5)

    def addresses(title):
        section = report.split(f"{title}\n")[1].split("\n\n")[0]
        return {to: int(count) for count, to in re.findall(r"(?m)^ +(\d+) +(\S+@\S+)", section)}

    assert addresses("Recipients by message count") == hour.recipients
    assert addresses("Senders by message count") == hour.senders
    reasons = report.split("message deferral detail\n")[1].split("message bounce detail")[0]
    assert f"{made['refused']}   connect to 127.0.0.1[127.0.0.1]" in reasons
    assert re.search(r" 1   lost connection with 127\.0\.0\.1", reasons)
    rejects = report.split("message reject detail\n")[1].split("message reject warning")[0]
    assert {(code, int(count)) for code, count in re.findall(
        r"(?m)^ +(\d{3}) .*\(total: (\d+)\)$", rejects)} == \
        {("454", 6), ("504", 2), ("504", 3), ("550", 5)}
    for nothing in ("Fatal Errors: none", "Panics: none", "message hold detail: none"):
        assert nothing in report


@pytest.fixture
def logwatch(scratch, debian):
    """logwatch where it was unpacked: it knows where it is only by its text."""
    base, config = (scratch.path + "/" + name for name in ("share", "etc"))
    pp_scratch.must(["cp", "-r", f"{debian}/usr/share/logwatch", base])
    pp_scratch.must(["cp", "-r", f"{debian}/etc/logwatch", config])
    with open(f"{debian}/usr/sbin/logwatch", encoding="utf-8") as file:
        text = file.read().replace("/usr/share/logwatch", base).replace("/etc/logwatch", config)
    program = scratch.file("logwatch", text)
    scratch.file(f"{config}/conf/logwatch.conf", f"TmpDir = {scratch.dir('tmp')}\n")

    def report(path):
        scratch.file(f"{config}/conf/logfiles/maillog.conf",
                     f"LogFile =\nLogFile = {path}\nArchive =\n")
        return pp_scratch.must(["perl", program, "--service", "postfix", "--range", "yesterday",
                                "--detail", "10", "--output", "stdout", "--format", "text"])
    return report


def test_logwatch(hour, logwatch):
    made = hour.made
    report = logwatch(hour.path)
    summary, detail = report.split("****** Detail")
    found = {name: int(count.replace(",", "")) for name, count in re.findall(
        r"(?m)^ +[\d.]+[KM]? +([A-Z].*?) {2,}([\d,]+) *$", summary)}
    assert {name: count for name, count in found.items() if name not in UNCOUNTED} == {
        **{name: made[key] for name, key in LOGWATCH.items()},
        "TLS connections (client)": len(hour.provider.log.find("TLS connection established from"))}
    rejects = dict(reversed(m) for m in re.findall(r"(?m)^ +(\d+) +([45]xx .*?) {2,}", summary))
    assert rejects == {"4xx Reject relay denied": "6", "5xx Reject unknown user": "5",
                       "5xx Reject sender address": "3", "5xx Reject HELO/EHLO": "2"}
    assert re.search(rf"(?m)^ +{made['accepted']} {{3}}Accepted ", summary)
    section = detail.split("Sent via SMTP ---")[1].split("\n \n")[0]
    domains = {name: int(count) for count, name in re.findall(r"(?m)^ +(\d+) +(\S+\.test)", section)}
    assert domains == {domain: sum(count for to, count in hour.recipients.items()
                                   if to.endswith("@" + domain))
                       for domain in (pp_hour.INSIDE, pp_hour.OUTSIDE)}
    # What it does not know it lists: of Postfix only the lines of forced expiry.
    unknown = report.split("**Unmatched Entries**")[1].split("Postfix End")[0]
    assert len(re.findall(r"(?m)^ +\d+ +\w{3} .*(?:: expired|Force-expired: 1 message|"
                          "status=force-expired, returned to sender)$", unknown)) == 3
    assert len(re.findall(r"postfix/", unknown)) == 3, unknown


LOGWATCH = {"Placed on hold": "held", "Bytes accepted": "bytes received",
            "Bytes sent via SMTP": "bytes delivered", "Connections": "connections",
            "Connections lost (inbound)": "lost", "Disconnections": "connections",
            "Removed from queue": "removed and deleted", "Sent via SMTP": "sent",
            "Deferred": "deferrals", "Deferrals": "deferrals", "Bounced (local)": "bounced",
            "Requeued messages": "requeued", "Expired and returned to sender": "expired",
            "Notifications sent": "notices", "Connection failures (outbound)": "refused",
            "SMTP protocol violations": "too many errors"}
# Postfix says these of itself.
UNCOUNTED = ("Miscellaneous warnings", "Postfix start")

NORMAL = {"127.0.0.2": 6, "127.0.0.3": 5, "127.0.0.5": 2, "127.0.0.6": 1}
DDOS = {"127.0.0.7": 2, "127.0.0.8": 1}


@pytest.mark.parametrize("mode, expected", [
    ("normal", NORMAL), ("more", NORMAL), ("extra", NORMAL), ("ddos", DDOS), ("rbl", {}), ("auth", {}),
    ("aggressive", {**NORMAL, **DDOS}), ("errors", {"127.0.0.6": 1})])
def test_fail2ban(hour, debian, mode, expected):
    out = pp_scratch.must(
        ["/usr/bin/python3", f"{debian}/usr/bin/fail2ban-regex", "-c", f"{debian}/etc/fail2ban",
         "--usedns", "no", "-o", "ip", hour.path,
         f"{debian}/etc/fail2ban/filter.d/postfix.conf[mode={mode}]"],
        env=dict(os.environ, PYTHONPATH=f"{debian}/usr/lib/python3/dist-packages"))
    assert collections.Counter(out.split()) == expected
