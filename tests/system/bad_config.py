"""bad_config.py - what an administrator gets wrong, and where the message says it is."""

import os
import re

import pp_harness
import pytest


def refuse(scratch, text, name="main.cf"):
    """Starts with the lines added to the file: it must not start, and `check` must say the same."""
    system = pp_harness.Pennypost(scratch)
    with open(f"{system.config}/{name}", "a", encoding="utf-8") as file:
        file.write(text)
    code, said = system.fails()
    assert code not in (0, 99) and 0 < code < 100, (code, said)
    assert "fatal" in said
    done = system.command("check")
    assert done.returncode != 0
    return said, done.stderr + done.stdout, system


def line_of(system, text, name="main.cf"):
    with open(f"{system.config}/{name}", encoding="utf-8") as file:
        return next(i for i, line in enumerate(file, 1) if text in line)


@pytest.mark.parametrize("line, wants", [
    ("message_size_limit = many", ["message_size_limit", "many"]),
    ("smtpd_recipient_limit = 0", ["smtpd_recipient_limit", "0"]),
    ("message_size_limit = 99999999999999999999999", ["message_size_limit"]),
    ("maximal_backoff_time = 5 parsecs", ["maximal_backoff_time", "parsecs"]),
    ("soft_bounce = maybe", ["soft_bounce", "maybe"]),
    ("smtp_tls_security_level = paranoid", ["smtp_tls_security_level", "paranoid"]),
    ("inet_protocols = ipv5", ["inet_protocols", "ipv5"]),
])
def test_unusable_value(scratch, line, wants):
    said, checked, system = refuse(scratch, line + "\n")
    number = line_of(system, line)
    for text in (said, checked):
        assert re.search(rf"main\.cf,? line {number}\b|main\.cf:{number}\b", text), text
        for want in wants:
            assert want in text, text


@pytest.mark.parametrize("line", [
    "mynetworks = 10.0.0.1/8",
    "smtp_sasl_auth_enable = yes",
    "smtp_sasl_password_maps = mysql:/x",
    "smtp_tls_CAfile = /nonexistent/ca.pem",
    "relayhost = [mail.test",
    "relayhost = mail.test:nosuchport",
    "relayhost = [good.test]:25, mail.test:70000",
    "smtp_fallback_relay = ::1",
    "smtp_destination_rate_limit = 30/60s, 5/0s",
    "default_destination_rate_limit = 30 per minute",
])
def test_unusable_value_found_late(scratch, line):
    """The files are sound, but a table, network or next hop in them is not."""
    if "password_maps" in line:
        line += "\nsmtp_sasl_auth_enable = yes"
    said, checked, system = refuse(scratch, f"smtp_tls_security_level = may\n{line}\n")
    line = line.split("\n")[0]
    for text in (said, checked):
        assert re.search(rf"fatal: \S*main\.cf, line {line_of(system, line)}: "
                         rf"{line.split(' ')[0]}\b", text), text


@pytest.mark.parametrize("row, wants", [
    ("127.0.0.1:nosuchservice inet n - n - - smtpd\n", "listen on 127.0.0.1:nosuchservice"),
    ("127.0.0.1:0 inet n - n - 5 smtpd -o mynetworks=10.0.0.1/8\n", "mynetworks"),
])
def test_unusable_row_found_late(scratch, row, wants):
    said, checked, system = refuse(scratch, row, "master.cf")
    number = line_of(system, row.strip(), "master.cf")
    for text in (said, checked):
        assert re.search(rf"fatal: \S*master\.cf, line {number}: {wants}", text), text


def test_range_is_said(scratch):
    said, _, _ = refuse(scratch, "workers = 9999\n")
    assert "64" in said and "workers" in said


def test_line_without_equals(scratch):
    said, _, system = refuse(scratch, "this is no parameter\n")
    assert "missing '=' after attribute name" in said
    assert str(line_of(system, "this is no parameter")) in said


def test_loop_of_parameters(scratch):
    said, _, _ = refuse(scratch, "myhostname = $mydomain.x\nmydomain = $myhostname\n")
    assert re.search("myhostname|mydomain", said)


@pytest.mark.parametrize("wrong, right", [
    ("recipient_limit", "smtpd_recipient_limit"),
    ("maximal_retry_interval", "maximal_backoff_time"),
    ("relay_host", "relayhost"),
    ("smtp_sasl_passwd_maps", "smtp_sasl_password_maps"),
])
def test_unknown_parameter_is_a_warning(scratch, sink, wrong, right):
    system = pp_harness.Pennypost(scratch, **{wrong: "5"}).relay_to(sink).start()
    number = line_of(system, f"{wrong} = ")
    system.log.wait_for(rf"warning: .*main\.cf.*{number}.*{wrong}.*[^_a-z]{right}\b")
    system.wait_removed(system.send("user@dest.test"))


@pytest.mark.parametrize("text", [
    "smtp inet n\n",
    "smtp nonsense n - n - - smtpd\n",
    "smtp inet maybe - n - - smtpd\n",
    "127.0.0.1:99999 inet n - n - - smtpd\n",
    "smtp unix - - n - many smtp\n",
    "extra unix - - n - - smtp -o\n",
    "extra unix - - n - - smtp -o nonsense\n",
    "127.0.0.1:0 inet n - n - - smtpd -o message_size_limit=many\n",
])
def test_malformed_master_cf(scratch, text):
    said, checked, system = refuse(scratch, text, "master.cf")
    number = line_of(system, text.strip(), "master.cf")
    for words in (said, checked):
        assert re.search(rf"master\.cf,? line {number}\b|master\.cf:{number}\b", words), words


def test_listener_of_an_unknown_host(scratch):
    system = pp_harness.Pennypost(scratch, services="no.such.host.test:25 inet n - n - - smtpd\n")
    code, said = system.fails()
    assert 0 < code < 99
    assert "fatal" in said and "no.such.host.test" in said


def test_no_interface_is_not_every_interface(scratch):
    code, said = pp_harness.Pennypost(scratch, services="2525 inet n - n - - smtpd\n",
                                      inet_interfaces="").fails()
    assert 0 < code < 99 and "inet_interfaces is empty" in said


def test_nul_and_binary_in_main_cf(scratch):
    """Whatever it makes of it, it says so with the line, and does not crash."""
    system = pp_harness.Pennypost(scratch)
    with open(f"{system.config}/main.cf", "ab") as file:
        file.write(b"\x00\xff\xfe = \x00\nno equals here \x80\n")
    code, said = system.fails()
    assert 0 < code < 99 and "main.cf" in said


def test_unreadable_configuration(scratch, root):
    """No right to read it is another thing than there being none."""
    system = pp_harness.Pennypost(scratch, user="nobody", queue_directory=scratch.path + "/q")
    os.chmod(f"{system.config}/main.cf", 0o600)
    code, said = system.fails()
    assert 0 < code < 99
    assert "main.cf" in said and "Permission denied" in said


def test_open_relay_is_refused(scratch):
    """Neither list refuses strangers: that listener does not start."""
    said, _, _ = refuse(scratch, "smtpd_relay_restrictions = permit_mynetworks\n"
                        "smtpd_recipient_restrictions = permit_mynetworks\n")
    assert "reject_unauth_destination" in said


def test_unknown_restriction(scratch):
    said, _, _ = refuse(scratch, "smtpd_relay_restrictions = permit_mynetwork, reject\n")
    assert "permit_mynetwork" in said


def test_world_writable_configuration_is_warned_about(scratch, sink, root):
    system = pp_harness.Pennypost(scratch).relay_to(sink)
    done = system.command("check")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_postconf(scratch):
    system = pp_harness.Pennypost(scratch, relayhost="[mail.example.com]:587", myorigin="$mydomain")
    assert system.must("postconf", "relayhost") == "relayhost = [mail.example.com]:587\n"
    assert system.must("postconf", "-h", "myorigin") == "$mydomain\n"
    assert system.must("postconf", "-d", "message_size_limit") == "message_size_limit = 10240000\n"
    changed = system.must("postconf", "-n").splitlines()
    changed = [line for line in changed if not line.startswith("config_directory = ")]
    assert "relayhost = [mail.example.com]:587" in changed
    assert changed == sorted(changed) and len(changed) == len(system.main)
    every = system.must("postconf").splitlines()
    assert len(every) > 100 and every == sorted(every)
    # What cannot be used is shown all the same: the files are sound.
    system.write_config(myorigin="/nonexistent/mailname")
    done = system.command("postconf", "-n", "myorigin", "relayhost")
    assert done.stdout == "myorigin = /nonexistent/mailname\nrelayhost = [mail.example.com]:587\n"
    assert "myorigin: cannot read /nonexistent/mailname: No such file" in done.stderr
    assert system.command("check").returncode != 0
    done = system.command("postconf", "nosuch")
    assert done.returncode == 0
    assert "postconf: warning: nosuch: unknown parameter" in done.stderr


def test_missing_relay_password_file_does_not_stop_the_start(scratch, sink):
    system = pp_harness.Pennypost(scratch, smtp_sasl_auth_enable="yes",
                                  smtp_sasl_password_maps="texthash:/nonexistent/passwd")
    system.relay_to(sink).start()
    system.log.wait_for(r"warning: .*/nonexistent/passwd.*No such file")


@pytest.mark.parametrize("line, fix", [
    ("mail_owner = nosuchuser", "useradd --system"),
    ("setgid_group = nosuchgroup", "groupadd --system nosuchgroup"),
])
def test_nobody_of_that_name(scratch, root, line, fix):
    said, checked, system = refuse(scratch, line + "\n")
    for text in (said, checked):
        assert f"main.cf, line {line_of(system, line)}: {line}: no such" in text and fix in text
