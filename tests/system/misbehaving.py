"""misbehaving.py - servers that misbehave at every stage: pennypost and Postfix meet all of them.

The cases are data, tests/system/misbehaving.cases, which says how they are written. Each system is
run once, with all cases at the same time. A second mail to each server, good by then, tells whether
its destination counted as in trouble: it waits, or is sent.
"""

import os
import re
import threading

import pp_ca
import pp_harness
import pp_script
import pytest
from pp_scratch import SLOW, TIMEOUT, Scratch

CASES = pp_script.parse(os.path.join(os.path.dirname(__file__), "misbehaving.cases"))
LINE = (r": (?P<id>\w+): to=<(?P<rcpt>\w+)@\[(?P<address>127\.1\.[\d.]+)\]>, .*dsn=(?P<dsn>[\d.]+), "
        r"status=(?P<status>\w+) \((?P<text>.*?)\)?$")
SHORT = 3 * SLOW  # seconds; a machine under load answers in less
VALUES = {
    "smtp_connection_cache_on_demand": "no",
    "initial_destination_concurrency": "1",
    "default_destination_concurrency_failed_cohort_limit": "1",
    "smtp_skip_quit_response": "no",
    "smtp_tls_security_level": "may",
    "smtp_sasl_auth_enable": "yes",
    "smtp_sasl_password_maps": "static:kate:s3cret",
    "smtp_sasl_security_options": "noanonymous",
    "smtp_sasl_tls_security_options": "noanonymous",
    "line_length_limit": "2048",
    **{f"smtp_{stage}_timeout": f"{SHORT}s"
       for stage in ("helo", "mail", "rcpt", "data_init", "data_xfer", "data_done", "rset", "quit",
                     "starttls")},
}


class Run:
    """One system against all servers."""

    def __init__(self, scratch, kind, certificate, **main):
        self.servers = pp_script.Servers(scratch, CASES, certificate)
        self.system = kind(scratch, smtp_tcp_port=str(self.servers.port), **VALUES, **main)
        self.names = {address: name for name, address in self.servers.address.items()}

    def play(self):
        self.system.start()
        client = self.system.client()
        for case in CASES:
            self._send(client, case, case.recipients)
        lines = self._wait(sum(case.to for case in CASES), 0)
        self.servers.wait_quiet(TIMEOUT)
        mark = self.system.log.mark()
        self.servers.behave()
        for case in CASES:
            self._send(client, case, "z")
        again = self._wait(len(CASES), mark)
        self.outcomes = {case.name: {} for case in CASES}
        self.twice = []
        for m in lines:
            name = self.names[m["address"]]
            if m["rcpt"] in self.outcomes[name]:
                self.twice.append(m.group(0))
            self.outcomes[name][m["rcpt"]] = pp_script.Outcome(
                m["status"], m["dsn"], self._plain(m["text"], m["address"]))
        self.trouble = {self.names[m["address"]]: "temporarily suspended" in m["text"]
                        for m in again}
        return self

    def _plain(self, text, address):
        return text.replace(f"{address}[{address}]", "H").replace(f":{self.servers.port}", ":P")

    def _send(self, client, case, recipients):
        address = self.servers.address[case.name]
        if not client.ehlo_resp:
            client.ehlo()
        lines = 120000 if case.is_big else 4000 if case.is_long else 1
        body = ("0123456789" * 7 + "\r\n") * (lines if recipients != "z" else 1)
        assert client.mail("sender@client.test")[0] == 250
        for who in recipients:
            code, answer = client.rcpt(f"{who}@[{address}]", ["NOTIFY=NEVER"])
            assert code == 250, answer
        code, answer = client.data(f"Subject: {case.name}\r\n\r\n{body}")
        assert code == 250, answer

    def _wait(self, count, since):
        self.system.log.wait_for(LINE, since=since, count=count, timeout=2 * TIMEOUT)
        return self.system.log.find(LINE, since=since)

    def sees(self, case):
        """The commands of each connection."""
        return " / ".join(" ".join(c) or "-" for c in self.servers.records[case.name].sees)

    def mails(self, case):
        return len(self.servers.records[case.name].mails)


@pytest.fixture(scope="module")
def runs():
    """Both at the same time: most of it is waiting."""
    area = Scratch("pp-misbehaving")
    authority = pp_ca.Authority(area.path)
    certificate = authority.issue("peer")
    both = {"": Run(area, pp_harness.Pennypost, certificate, smtp_tls_CAfile=authority.file),
            "postfix": Run(area, pp_harness.Postfix, certificate, smtp_tls_CAfile=authority.file,
                           default_process_limit="100")}
    errors = []

    def play(run):
        try:
            run.play()
        except AssertionError as error:
            errors.append(error)

    threads = [threading.Thread(target=play, args=(run,)) for run in both.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    yield both
    area.close()


def differences(run, case, who):
    """What came otherwise than the case says, one line each."""
    bad = []

    def compare(what, want, got):
        if want != got:
            bad.append(f"{what}\n    wanted {want}\n    got    {got}")

    wanted = case.outcomes(who)
    for rcpt in case.recipients:
        got = run.outcomes[case.name].get(rcpt)
        want = wanted.get(rcpt)
        if got and want and want.text.endswith(" ..."):  # long, and where it is cut does not matter
            got = got._replace(text=got.text[:len(want.text) - 4] + " ...")
        compare(f"recipient {rcpt}", want, got)
    compare("commands", case.wanted("sees", who), run.sees(case))
    compare("mails", case.wanted("mails", who), run.mails(case))
    compare("destination in trouble", case.wanted("trouble", who), run.trouble.get(case.name))
    return bad


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_server(runs, case):
    for who, run in runs.items():
        bad = differences(run, case, who)
        if bad and not who and case.expect["or"]:
            bad = differences(run, case, "or")
        assert not bad, f"{who or 'pennypost'}, {case.name}:\n" + "\n".join(bad)


def test_nobody_is_decided_twice(runs):
    for run in runs.values():
        assert not run.twice


def test_each_difference_has_its_reason():
    for case in CASES:
        differs = any("postfix" in field for field in (case.sees, case.mails, case.trouble)) or \
            case.expect["postfix"]
        assert bool(differs) == bool(case.why), f"{case.name}: {case.why or 'no reason is given'}"
