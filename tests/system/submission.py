"""submission.py - sendmail: its options, its exit codes, the header it completes, mail while down."""

import os
import re
import subprocess

import pp_harness
import pytest


@pytest.fixture
def post(relayed, sink, root):
    """post(options, text): submits, and gives the mails that arrived at the sink so far."""
    def submit(*options, text, count=1):
        done = relayed.command("sendmail", *options, input=text)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return sink.wait(count)
    return submit


def test_plain(post, relayed):
    (mail,) = post("-f", "me@client.test", "you@dest.test", text="Subject: hi\n\nline\n..two\n")
    assert mail.sender == "me@client.test" and mail.recipients == ["you@dest.test"]
    assert mail.body() == b"line\r\n..two\r\n"
    assert mail.header("From") and "me@client.test" in mail.header("From")
    assert re.match(r"\w{3}, +\d+ \w{3} \d{4} ", mail.header("Date"))
    assert re.match(rf"<\d{{14}}\.\w+@{relayed.name}\.pennypost\.test>$", mail.header("Message-Id"))
    assert re.match(rf"by {relayed.name}\.pennypost\.test \(.*, from userid 0\)\r\n\tid ",
                    mail.header("Received"))
    relayed.log.wait_for(r"pickup\[\d+\]: \w+: uid=0 from=<me@client\.test>")


def test_recipients_of_the_header(post):
    (mail,) = post("-t", "-f", "me@client.test", text=(
        "From: me@client.test\nTo: a@dest.test, Bee <b@dest.test>\nCc: c@dest.test,\n d@dest.test\n"
        "Bcc: secret@dest.test\nSubject: all\n\nhello\n"))
    assert sorted(mail.recipients) == ["a@dest.test", "b@dest.test", "c@dest.test", "d@dest.test",
                                       "secret@dest.test"]
    assert b"secret" not in mail.data and mail.header("Bcc") is None


def test_a_dot_ends_the_mail(post):
    (mail,) = post("-f", "me@client.test", "you@dest.test", text="Subject: x\n\none\n.\ntwo\n")
    assert mail.body() == b"one\r\n"


@pytest.mark.parametrize("option", ["-i", "-oi"])
def test_a_dot_does_not_end_the_mail(post, option):
    (mail,) = post(option, "-f", "me@client.test", "you@dest.test",
                   text="Subject: x\n\none\n.\ntwo\n")
    assert mail.body() == b"one\r\n.\r\ntwo\r\n"


def test_full_name_and_r(post):
    (mail,) = post("-F", "Penny Post", "-r", "me@client.test", "you@dest.test", text="\nhello\n")
    assert mail.sender == "me@client.test"
    assert mail.header("From") in ("Penny Post <me@client.test>", "me@client.test (Penny Post)")


def test_addresses_without_domain_are_qualified(post, relayed):
    (mail,) = post("-f", "me", "you", text="To: you\n\nhello\n")
    domain = f"{relayed.name}.pennypost.test"
    assert (mail.sender, mail.recipients) == (f"me@{domain}", [f"you@{domain}"])
    assert mail.header("To") == f"you@{domain}"


def test_ignored_options(post):
    (mail,) = post("-Am", "-m", "-n", "-om", "-oee", "-o8", "-O", "QueueDirectory=/x", "-B", "8BITMIME",
                   "-N", "never", "-R", "hdrs", "-V", "env", "-i", "-f",
                   "me@client.test", "--", "you@dest.test", text="\nhello\n")
    assert mail.recipients == ["you@dest.test"]


def test_options_behind_recipients(post):
    (mail,) = post("you@dest.test", "-f", "me@client.test", "too@dest.test", "-i", "--", "-a@dest.test",
                   text="\nhello\n")
    assert mail.sender == "me@client.test"
    assert sorted(mail.recipients) == ["-a@dest.test", "too@dest.test", "you@dest.test"]


def test_resent_mail_goes_to_nobody_of_the_first_time(post, relayed):
    """Also where it names nobody now: whoever had it the first time is not meant."""
    done = relayed.command("sendmail", "-t", input="To: old@dest.test\nResent-To: ,\n\nhello\n")
    assert done.returncode == exit_code(relayed, 65)
    assert "No recipient addresses found in message header" in done.stderr
    (mail,) = post("-t", "you@dest.test", text="To: old@dest.test\nResent-Bcc:\n\nhello\n")
    assert mail.recipients == ["you@dest.test"]


def test_what_is_no_address_is_not_lost(relayed, root):
    """Beside others it is a recipient, too: its failure comes back to the sender."""
    done = relayed.command("sendmail", "-f", "me@client.test", "a@dest.test, user@", input="\nhello\n")
    assert (done.returncode, done.stderr) == (0, "")
    relayed.wait_status("a@dest.test", "sent")
    relayed.log.wait_for(r"to=<user@?>, .*status=(bounced|deferred)")
    mark = relayed.log.mark()
    done = relayed.command("sendmail", "-t", "-f", "me@client.test",
                           input="To: b@dest.test, user@\n\nhello\n")
    assert done.returncode == 0
    if isinstance(relayed, pp_harness.Pennypost):
        assert 'no address is understood in "To: user@"' in done.stderr
    relayed.wait_status("b@dest.test", "sent", since=mark)
    relayed.log.wait_for(r"to=<user@?>, .*status=(bounced|deferred)", since=mark)


def test_an_empty_list_names_nobody(relayed, root):
    """As "Cc: $A, $B" becomes when both are empty."""
    for i, fields in enumerate(["Cc: ,", "Bcc: (nobody), ,", "Cc:", "Cc: , , ;"]):
        done = relayed.command("sendmail", "-t", "-f", "me@client.test",
                               input=f"To: empty{i}@dest.test\n{fields}\n\nhello\n")
        assert (done.returncode, done.stderr) == (0, "")
        queue_id = relayed.wait_status(f"empty{i}@dest.test", "sent").group("id")
        assert relayed.log.find(rf"{queue_id}: from=.*, nrcpt=1 ")


@pytest.mark.parametrize("separator", [", ", ",\n "])
def test_recipients_that_do_not_fit_are_refused(relayed, separator):
    """The header is held up to header_size_limit: whoever stands behind it would get nothing."""
    everybody = separator.join(f"somebody{i:06}@dest.test" for i in range(8000))
    done = relayed.command("sendmail", "-t", "-f", "me@client.test", input=f"To: {everybody}\n\nhello\n")
    assert done.returncode == exit_code(relayed, 65)
    assert "unable to extract recipients" in done.stderr
    done = relayed.command("sendmail", "-t", "-f", "me@client.test",
                           input="To: " + ",".join(f"a{i}" for i in range(12000)) + "\n\nhello\n")
    if isinstance(relayed, pp_harness.Pennypost):
        assert done.returncode == 65 and "more than 10000 recipients" in done.stderr


def test_crlf_input(post):
    (mail,) = post("-f", "me@client.test", "you@dest.test", text="Subject: x\r\n\r\none\r\n\r\ntwo\r\n")
    assert mail.body() == b"one\r\n\r\ntwo\r\n"


def test_null_sender(post):
    (mail,) = post("-f", "", "you@dest.test", text="\nhello\n")
    assert mail.sender == ""


def exit_code(system, ours):
    """Postfix ends every error with 75, which asks to try again; ours are those of sysexits.h."""
    return 75 if isinstance(system, pp_harness.Postfix) else ours


def test_no_recipient(relayed, root):
    done = relayed.command("sendmail", input="\nhello\n")
    assert done.returncode == exit_code(relayed, 64)
    assert re.search(r"sendmail: fatal: root\(0\): Recipient addresses must be specified", done.stderr)
    done = relayed.command("sendmail", "-t", input="Subject: x\n\nhello\n")
    assert done.returncode == exit_code(relayed, 65)
    assert "No recipient addresses found in message header" in done.stderr
    assert relayed.queue_files() == []


def test_too_big(scratch, sink, root):
    system = pp_harness.system_under_test(scratch, message_size_limit="5000").relay_to(sink).start()
    done = system.command("sendmail", "-f", "me@client.test", "you@dest.test",
                          input="Subject: x\n\n" + "y" * 70 + "\n" * 6000)
    assert done.returncode == exit_code(system, 65)
    assert "message file too big" in done.stderr
    assert system.queue_files() == []


def test_dialog_on_stdin(post, relayed):
    done = relayed.command("sendmail", "-bs", input=(
        "EHLO me.test\r\nMAIL FROM:<me@client.test>\r\nRCPT TO:<you@dest.test>\r\nDATA\r\n"
        "Subject: bs\r\n\r\nhello\r\n.\r\nQUIT\r\n"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("220 ") and "\r\n221 " in done.stdout
    assert "queued as" in done.stdout
    relayed.log.wait_for(r"to=<you@dest\.test>, .*status=sent")


def test_mail_waits_while_the_daemon_is_down(scratch, sink, root):
    system = pp_harness.Pennypost(scratch).relay_to(sink)
    system.start()
    system.stop()
    done = system.command("sendmail", "-f", "me@client.test", "you@dest.test",
                          input="Subject: waiting\n\nhello\n")
    assert (done.returncode, done.stderr) == (0, "")
    (path,) = system.queue_files()
    assert path.startswith("maildrop/")
    assert os.stat(os.path.join(system.queue, path)).st_mode & 0o777 == 0o744
    system.start()
    assert sink.wait(1)[0].header("Subject") == "waiting"
    system.wait_status("you@dest.test", "sent")


def test_another_user_submits(scratch, sink, root):
    """Another uid drops its mail, and the log has it."""
    relayed = pp_harness.Pennypost(scratch).relay_to(sink).start()
    done = subprocess.run(relayed.argv("sendmail", "-f", "me@client.test", "you@dest.test"),
                          input=b"\nhello\n", capture_output=True, user="nobody", group="nogroup",
                          extra_groups=[], check=False)
    assert done.returncode == 0, done.stderr
    sink.wait(1)
    nobody = subprocess.run(["id", "-u", "nobody"], capture_output=True, check=True).stdout.decode()
    relayed.log.wait_for(rf"pickup\[\d+\]: \w+: uid={nobody.strip()} from=<me@client\.test>")


def test_hundred_submissions_at_once(relayed, sink, root):
    children = [subprocess.Popen(relayed.argv("sendmail", "-f", "me@client.test", f"u{i}@dest.test"),
                                 stdin=subprocess.PIPE) for i in range(100)]
    for child in children:
        child.communicate(b"Subject: many\n\nhello\n")
        assert child.returncode == 0
    mails = sink.wait(100)
    assert {m.recipients[0] for m in mails} == {f"u{i}@dest.test" for i in range(100)}
