"""postconf.py - our postconf beside Postfix's, on the same files: what both know must read alike."""

import os
import shutil
import subprocess

import pytest
from pp_scratch import BUILD, TIMEOUT

POSTFIX = "/usr/sbin/postconf"

# Where the defaults differ on purpose, and what only one of both has.
OURS = {
    "mail_name", "mail_version", "mail_release_date", "process_id", "process_name", "mynetworks_style",
    "milter_macro_v", "smtpd_banner", "postscreen_greet_banner", "smtpd_relay_restrictions",
    "smtpd_forbid_bare_newline", "smtpd_forbid_unauth_pipelining",
} | {f"{side}_tls{m}_protocols" for side in ("smtp", "lmtp", "smtpd", "tlsproxy_tls")
     for m in ("", "_mandatory")} | {"tlsproxy_tls_protocols", "tlsproxy_tls_mandatory_protocols"}

MASTER = """\
smtp      inet  n       -       y       -       -       smtpd
submission inet n       -       y       -       -       smtpd
  -o syslog_name=postfix/submission
  -o smtpd_tls_security_level=encrypt
  -o { smtpd_client_restrictions = permit_sasl_authenticated, reject }
pickup    unix  n       -       y       60      1       pickup
smtp      unix  -       -       y       -       -       smtp
slow      unix  -       -       y       -       3       smtp -o smtp_connect_timeout=5s
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
postlog   unix-dgram n  -       n       -       1       postlogd
a-rather-long-name unix - n       n       -       -       pipe
  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient} ${extension} ${nexthop} ${sender}
"""

TRICKY = {
    "empty": "",
    "continued": "mydestination = a,\n  b,\n# comment\n\n\tc   d  \n",
    "last_wins": "relayhost = a\nrelayhost   =   [b]:25  \n",
    "macros": "mydomain = example.org\nmyhostname = mail.$mydomain\nmyorigin = ${myhostname}\n"
              "relayhost = ${mydomain?{[relay.$mydomain]}:{none}}\n"
              "mydestination = $(myhostname), $$x, ${nothing:fallback}\n",
    "own_names": "mua = permit_sasl_authenticated, reject\nsmtpd_client_restrictions = $mua\n"
                 "unused_name = 1\n",
    "classes": "smtpd_restriction_classes = strict\nstrict = reject_unknown_sender_domain\n",
    "transports": "slow_destination_rate_delay = 2s\nslow_destination_concurrency_limit = 1\n"
                  "other_destination_rate_delay = 2s\n",
    "equals": "header_checks = regexp:{{/^x=y/ OK}}\n",
    "comment_in_value": "smtpd_banner = $myhostname ESMTP # not a comment\n",
    "comparison": "smtp_connect_timeout = ${{$compatibility_level} >=level {3} ? {10} : {20}}s\n"
                  "smtp_helo_timeout = ${{2} < {10} ? {1m} : {2m}}\n",
    "long": "mynetworks = " + ", ".join(f"10.{i}.0.0/16" for i in range(30)) + "\n",
    "no_newline": "relayhost = x",
    "stress": "smtpd_timeout = ${stress?{10}:{300}}s\n",
    "raw": "luser_relay = $user@other.example\nforward_path = $home/.forward\n",
}


class Directory:
    """A configuration directory, and both programs over it."""

    def __init__(self, path, main):
        self.path = path
        self.write(main)
        with open(f"{path}/master.cf", "w", encoding="utf-8") as file:
            file.write(MASTER)

    def write(self, main, level="compatibility_level = 3.6\n"):
        with open(f"{self.path}/main.cf", "w", encoding="utf-8") as file:
            file.write(level + main)

    def run(self, program, *args):
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        return subprocess.run([program, "-c", self.path, *args], env=env, capture_output=True,
                              text=True, timeout=TIMEOUT, check=False)

    def both(self, *args):
        ours, theirs = self.run(f"{BUILD}/postconf", *args), self.run(POSTFIX, *args)
        assert theirs.returncode == ours.returncode, (ours.stderr, theirs.stderr)
        return ours, theirs


def pairs(text):
    """name = value lines, without those that differ on purpose."""
    lines = (line.partition(" =") for line in text.splitlines())
    return {name: value for name, _, value in lines if name not in OURS}


@pytest.fixture(name="directory")
def fixture_directory(scratch):
    if not os.path.exists(POSTFIX):
        pytest.skip("no Postfix here")
    return lambda main="": Directory(scratch.dir("conf"), main)


@pytest.mark.parametrize("name", TRICKY)
def test_set_values(directory, name):
    d = directory(TRICKY[name])
    for options in (["-n"], ["-nx"], ["-nf"]):
        ours, theirs = d.both(*options)
        assert ours.stdout == theirs.stdout, options


@pytest.mark.parametrize("options", [["-d"], [], ["-x"]])
def test_all_values(directory, options):
    d = directory("smtpd_delay_reject = no\n")
    ours, theirs = (pairs(out.stdout) for out in d.both(*options))
    if "-d" in options:
        for known in ("compatibility_level", "config_directory", "mynetworks"):  # 3.6 is ours
            del ours[known], theirs[known]
    missing = [name for name in theirs if name not in ours]
    assert not missing
    assert {name: ours[name] for name in theirs} == theirs


def test_stock_debian_is_known(directory):
    d = directory()
    shutil.copy("/usr/share/postfix/main.cf.debian", f"{d.path}/main.cf")
    shutil.copy("/usr/share/postfix/master.cf.dist", f"{d.path}/master.cf")
    ours, _ = d.both("-n")
    assert "unknown" not in ours.stderr


@pytest.mark.parametrize("options", [
    ["-M"], ["-Mf"], ["-F"], ["-P"], ["-M", "smtp/unix"], ["-M", "smtp", "slow/unix"],
    ["-F", "relay/unix"], ["-F", "slow/unix/process_limit"], ["-P", "slow/unix"],
    ["-P", "submission/inet/syslog_name"],
])
def test_services(directory, options):
    ours, theirs = directory().both(*options)
    if "-P" in options:  # Postfix's order of these is that of a hash
        assert sorted(ours.stdout.splitlines()) == sorted(theirs.stdout.splitlines())
    else:
        assert ours.stdout == theirs.stdout


def test_names(directory):
    d = directory("relayhost = [x]:25\n")
    for options in (["relayhost"], ["-h", "relayhost"], ["-H", "relayhost"], ["-d", "relayhost"],
                    ["relayhost", "mydomain", "2bounce_notice_recipient"],
                    ["slow_destination_rate_delay"], ["-x", "slow_destination_rate_delay"],
                    ["-o", "mydomain=a.b", "-x", "mydestination"]):
        ours, theirs = d.both(*options)
        assert ours.stdout == theirs.stdout, options
        assert not ours.stderr and not theirs.stderr, options


def test_unknown_name(directory):
    ours, theirs = directory().both("nosuch", "relayhost")
    assert ours.stdout == theirs.stdout
    assert ours.stderr == "postconf: warning: nosuch: unknown parameter\n"
    assert theirs.stderr.endswith(ours.stderr)


def test_no_options_behind_the_names(directory):
    ours, theirs = directory().both("relayhost", "-h")
    assert ours.stdout == theirs.stdout and ours.stdout.startswith("relayhost =")
    assert ours.stderr == "postconf: warning: -h: unknown parameter\n"
    assert theirs.stderr.endswith(ours.stderr)


def test_unmatched_service(directory):
    ours, theirs = directory().both("-M", "nosuch")
    assert ours.stdout == theirs.stdout == ""
    assert "unmatched request: \"nosuch\"" in ours.stderr


def test_misspelt_setting(directory):
    d = directory("recipient_limit = 5\nmaximal_retry_interval = 1h\n")
    ours, _ = d.both("-n")
    assert [line for line in ours.stderr.splitlines() if "unknown" in line] == [
        f"postconf: warning: {d.path}/main.cf, line 2: unknown parameter \"recipient_limit\" "
        "(did you mean \"smtpd_recipient_limit\"?)",
        f"postconf: warning: {d.path}/main.cf, line 3: unknown parameter "
        "\"maximal_retry_interval\" (did you mean \"maximal_backoff_time\"?)",
    ]
    assert "recipient_limit = 5" not in ours.stdout


def test_unusable_value_is_shown_and_told(directory):
    d = directory("message_size_limit = 10M\n")
    done = d.run(f"{BUILD}/postconf", "message_size_limit")
    assert done.returncode == 0 and done.stdout == "message_size_limit = 10M\n"
    assert "line 2: message_size_limit = \"10M\": must be a number of bytes" in done.stderr


@pytest.mark.parametrize("text, want", [
    ("foo\n", "main.cf, line 2: missing '=' after attribute name: \"foo\""),
    ("= x\n", "main.cf, line 2: missing attribute name: \"= x\""),
])
def test_broken_file(directory, text, want):
    for done in directory(text).both("-n"):
        assert done.returncode == 1 and want in done.stderr


def test_missing_file(directory):
    d = directory()
    os.unlink(f"{d.path}/main.cf")
    for done in d.both("-n"):
        assert done.returncode == 1 and f"{d.path}/main.cf" in done.stderr


@pytest.mark.parametrize("args", [
    ["relayhost = [new]:25"], ["-e", "mydestination=z"], ["-X", "relayhost"],
    ["-#", "mydestination"], ["-e", "mydestination = a", "relayhost ="],
    ["-e", "brand_new = 1"], ["-X", "nosuch"], ["-e", "  tail = 2 3 "],
])
def test_edit(directory, scratch, args):
    text = ("# head\nrelayhost = a\nmydestination = x,\n  y\n# inside\n\n  z\n"
            "relayhost = b\n#relayhost = c\ntail = 1\n")
    ours, theirs = directory(text), Directory(scratch.dir("conf2"), text)
    os.chmod(f"{ours.path}/main.cf", 0o640)
    assert theirs.run(POSTFIX, *args).returncode == 0
    done = ours.run(f"{BUILD}/postconf", *args)
    assert done.returncode == 0, done.stderr
    results = []
    for d in (ours, theirs):
        with open(f"{d.path}/main.cf", encoding="utf-8") as file:
            results.append(file.read())
    assert results[0] == results[1]
    assert os.stat(f"{ours.path}/main.cf").st_mode & 0o7777 == 0o640


def test_edit_keeps_a_link(directory, scratch):
    d = directory("relayhost = a\n")
    real = f"{scratch.dir('real')}/main.cf"
    shutil.move(f"{d.path}/main.cf", real)
    os.symlink(real, f"{d.path}/main.cf")
    assert d.run(f"{BUILD}/postconf", "relayhost=b").returncode == 0
    assert os.path.islink(f"{d.path}/main.cf")
    with open(real, encoding="utf-8") as file:
        assert "relayhost = b\n" in file.read()


@pytest.mark.parametrize("args", [["-hH"], ["-dn"], ["-q"], ["-M", "-n"], ["-e", "nothing"],
                                  ["-e", "two words=x"], ["-e"], ["-X"], ["-#"]])
def test_usage_errors(directory, args):
    for done in directory().both(*args):
        assert done.returncode == 1 and "fatal: " in done.stderr


def test_table_types(directory):
    ours, theirs = directory().both("-m")
    known = set(ours.stdout.split())
    assert {"hash", "btree", "texthash", "cidr", "inline", "static", "environ", "fail"} <= known
    # Those Debian has in packages of their own.
    assert known - set(theirs.stdout.split()) <= {"lmdb", "cdb", "pcre"}
