"""guides.py - what the guides to a mail queue tell one to type, typed: 500 mails that a server put off,
and the commands without an option that they would not have there.

MAIL_CONFIG names the configuration and PATH has the commands, so the lines are those of the guides.
With PENNYPOST_SUT=postfix they must give the same answers."""

import collections
import os
import re
import shutil
import subprocess

import pp_harness
import pp_peers
import pytest
from pp_scratch import TIMEOUT

MAILS = 500
BUSY = "450 4.2.0 later"
GREY = "451 4.7.1 Greylisted, see http://grey.example/help"
LATER = {f"host 127.0.0.1[127.0.0.1] said: {text} (in reply to RCPT TO command)": text
         for text in (BUSY, GREY)}


def is_ours(system):
    return isinstance(system, pp_harness.Pennypost)


def sender(number):
    return f"s{number % 7}@app{number % 3}.test"


def domain(number):
    return "example.com" if number % 10 == 0 else f"d{number % 10}.test"


def recipient(number):
    return f"user{number}@{domain(number)}"


class Guide:
    """A queue, and a shell to type into."""

    def __init__(self, scratch, **main):
        self.taking = set()  # domains whose mail is taken now
        self.sink = pp_peers.Sink(scratch, answer=self.answer)
        self.system = pp_harness.system_under_test(scratch, **main)
        self.system.relay_to(self.sink).start()
        client = self.system.client()
        self.ids = [self.system.send(recipient(n), sender=sender(n), client=client, subject=f"mail {n}")
                    for n in range(MAILS)]
        for queue_id in self.ids:
            self.system.wait_deferred(queue_id)

    def answer(self, verb, line):
        if verb != "RCPT":
            return None
        of = re.search(r"@([\w.]+)", line).group(1)
        return None if of in self.taking else GREY if of.endswith("5.test") else BUSY

    def type(self, line, code=0):
        """What it prints, as a guide's reader sees it, in the queue directory."""
        if is_ours(self.system):
            folder, config = os.path.dirname(self.system.binary), self.system.config
        else:
            self.system.command("postqueue", "-p")  # writes what its tools read
            folder, config = "/usr/sbin", f"{self.system.scratch.path}/pf-tools"
        env = dict(os.environ, PATH=f"{folder}:/usr/sbin:/usr/bin:/bin", MAIL_CONFIG=config,
                   LC_ALL="C", TZ="UTC")
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False,
                              env=env, cwd=self.system.queue, timeout=2 * TIMEOUT)
        assert done.returncode == code, (line, done.stdout[-2000:], done.stderr[-2000:])
        self.said = done.stderr
        return done.stdout

    def counts(self, line):
        """Of lines like those of uniq -c."""
        rows = [row.split(None, 1) for row in self.type(line).splitlines()]
        return {name: int(count) for count, name in rows}

    def listed(self):
        return set(re.findall(r"(?m)^([0-9A-F]{6,})[*!#]*\s", self.type("mailq")))

    def of(self, test):
        return {queue_id for number, queue_id in enumerate(self.ids) if test(number)}


@pytest.fixture
def guide(scratch, root):
    return Guide(scratch, relay_domains="example.com", mydestination="")


@pytest.fixture(params=["up", "down"])
def state(request):
    return request.param


def test_count(guide, state):
    if state == "down":
        guide.system.stop()
    senders = collections.Counter(map(sender, range(MAILS)))
    domains = collections.Counter(map(domain, range(MAILS)))
    reasons = collections.Counter(GREY if n % 10 == 5 else BUSY for n in range(MAILS))

    assert guide.counts(
        """postqueue -j | python3 -c 'import collections, json, sys
c = collections.Counter(json.loads(line)["sender"] for line in sys.stdin)
print("\\n".join(f"{n} {s}" for s, n in c.most_common()))'""") == senders
    assert guide.counts(
        """postqueue -j | python3 -c 'import collections, json, sys
c = collections.Counter(r["address"].split("@")[1] for l in sys.stdin for r in json.loads(l)["recipients"])
for d, n in c.most_common(): print(n, d)'""") == domains
    assert guide.counts(
        """postqueue -j | python3 -c '
import json, sys
from collections import Counter
c = Counter()
for m in map(json.loads, sys.stdin):
    if m["queue_name"] == "deferred":
        c.update(r.get("delay_reason", "-") for r in m["recipients"])
for r, n in c.items(): print(n, r)'""") == {r: reasons[text] for r, text in LATER.items()}
    assert guide.counts(r"mailq | grep -oP '\(.*?\)' | sort | uniq -c | sort -rn") \
        == {f"({r}": reasons[text] for r, text in LATER.items()}
    assert guide.counts("mailq | grep '^[0-9A-F]' | awk '{print $7}' | sort | uniq -c | sort -n") \
        == senders
    assert guide.counts(r"postqueue -p | egrep -o '^ {10,}[^ (]+@[^ ]+' | cut -d@ -f2 | sort | "
                        "uniq -c") == domains
    if shutil.which("jq"):
        assert guide.counts("postqueue -j | jq -r '.recipients[].address' | sed 's/.*@//' | sort | "
                            "uniq -c") == domains
        assert guide.type("postqueue -j | jq -s length") == f"{MAILS}\n"


def test_how_much(guide, state):
    if state == "down":
        guide.system.stop()
    total = guide.type("""postqueue -j | python3 -c 'import json, sys
print(sum(json.loads(l)["message_size"] for l in sys.stdin))'""")
    last = f"-- {int(total) // 1024} Kbytes in {MAILS} Requests.\n"
    assert guide.type("postqueue -p | tail -n 1") == last
    assert guide.type("mailq | tail -1") == last
    assert guide.type("sendmail -bp | tail -1") == last
    assert guide.type("mailq | grep -c '^[A-F0-9]'") == f"{MAILS}\n"
    assert guide.type("mailq | grep -c '@example.com'") == f"{MAILS // 10}\n"
    assert guide.type("find deferred -type f | wc -l") == f"{MAILS}\n"
    assert guide.type("find incoming active hold maildrop -type f | wc -l") == "0\n"
    assert guide.type("postqueue -p | head -n 1") \
        == "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n"


def test_qshape(guide, state):
    if state == "down":
        guide.system.stop()
    table = guide.type("qshape deferred | head").splitlines()
    assert table[0].split() == ["T", "5", "10", "20", "40", "80", "160", "320", "640", "1280", "1280+"]
    assert table[1].split()[:2] == ["TOTAL", str(MAILS)]
    rows = [row.split() for row in guide.type("qshape deferred").splitlines()[2:]]
    assert {row[0]: int(row[1]) for row in rows} == collections.Counter(map(domain, range(MAILS)))
    rows = [row.split() for row in guide.type("qshape -s deferred").splitlines()[2:]]
    assert {row[0]: int(row[1]) for row in rows} \
        == collections.Counter(sender(n).split("@")[1] for n in range(MAILS))
    assert guide.type("qshape hold active incoming | tail -n +2").split()[:2] == ["TOTAL", "0"]


def test_look_at_one(guide):
    queue_id = guide.ids[30]
    text = guide.type(f"postcat -vq {queue_id}")
    assert "regular_text: Subject: mail 30\n" in text and "recipient: user30@example.com\n" in text
    assert guide.type(f"postcat -q {queue_id} | grep -i ^subject:") == "Subject: mail 30\n"
    assert guide.type(f"postcat -hq {queue_id} | grep -c ^Received:") == "1\n"
    assert guide.type(f"postcat -bq {queue_id}") == "\nhello\n"
    assert guide.type("""postqueue -j | python3 -c 'import json, sys
print(next(m["queue_id"] for m in map(json.loads, sys.stdin)
           if m["recipients"][0]["address"] == "user30@example.com"))' | xargs postcat -eq | """
                      "grep ^sender:") == f"sender: {sender(30)}\n"


def summary(guide, text, count):
    assert guide.said.strip().splitlines()[-1] \
        == f"postsuper: {text}: {count} message{'' if count == 1 else 's'}"


def test_delete_some(guide, state):
    """The recipe of postsuper's own manual page, and those that leave a step of it out."""
    if state == "down":
        guide.system.stop()
    left = set(guide.ids)
    guide.type("""mailq | tail -n +2 | grep -v '^ *(' | awk 'BEGIN { RS = "" }
    # $7=sender, $8=recipient1, $9=recipient2
    { if ($8 == "user40@example.com" && $9 == "")
          print $1 }
' | tr -d '*!' | postsuper -d -""")
    summary(guide, "Deleted", 1)
    left.remove(guide.ids[40])
    assert guide.listed() == left
    gone = left & guide.of(lambda n: sender(n) == "s1@app1.test")
    guide.type("""mailq | awk 'BEGIN{RS=""} $7 == "s1@app1.test" {print $1}' | tr -d '*!' | """
               "postsuper -d -")
    # The head of the listing is of the first record there.
    left -= gone
    first = guide.listed() - left
    assert len(first) <= 1
    left |= first
    gone = left & guide.of(lambda n: sender(n).endswith("@app2.test"))
    guide.type("postqueue -p | awk '$7 ~ /@app2.test$/ {print $1}' | tr -d '*!' | postsuper -d -")
    summary(guide, "Deleted", len(gone))
    left -= gone
    gone = left & guide.of(lambda n: domain(n) == "d3.test")
    guide.type("""postqueue -j | python3 -c 'import json, sys
for l in sys.stdin:
    m = json.loads(l)
    if any(r["address"].endswith("@d3.test") for r in m["recipients"]): print(m["queue_id"])' | """
               "postsuper -d -")
    summary(guide, "Deleted", len(gone))
    left -= gone
    assert guide.listed() == left
    assert guide.type("find deferred -type f | wc -l") == f"{len(left)}\n"
    assert guide.type("find defer -type f | wc -l") == f"{len(left)}\n"


def test_hold_and_release(guide, state):
    if state == "down":
        guide.system.stop()
    some = guide.of(lambda n: domain(n) == "d4.test")
    guide.type("""postqueue -j | python3 -c 'import json, sys
print(*[m["queue_id"] for m in map(json.loads, sys.stdin) if "@d4.test" in m["recipients"][0]["address"]],
      sep="\\n")' | postsuper -h -""")
    summary(guide, "Placed on hold", len(some))
    assert guide.type("mailq | grep -c '^[A-F0-9]*!'") == f"{len(some)}\n"
    assert guide.type("find hold -type f | wc -l") == f"{len(some)}\n"
    assert guide.type("postqueue -p | grep -E '^[A-F0-9]+!' | tr -d '!' | cut -d' ' -f1 | "
                      "postsuper -H -") == ""
    summary(guide, "Released from hold", len(some))
    guide.type("postsuper -h ALL deferred")
    summary(guide, "Placed on hold", MAILS)
    guide.type("postsuper -H ALL")
    summary(guide, "Released from hold", MAILS)
    assert guide.listed() == set(guide.ids)
    guide.type(f"postsuper -h {guide.ids[0]} && postsuper -d ALL deferred")
    summary(guide, "Deleted", MAILS - 1)
    assert guide.listed() == {guide.ids[0]}
    guide.type("postsuper -d ALL")
    summary(guide, "Deleted", 1)
    assert guide.type("mailq") == "Mail queue is empty\n"
    assert guide.type("postqueue -j") == ""


def test_old_files_by_hand(guide, state):
    """The time of a deferred file is that of its next attempt, so mail that is found by its age has
    been waiting for a daemon; one that runs notices what is removed under it."""
    queue = guide.system.queue
    old = [path for path in guide.system.queue_files("deferred")[:20]]
    if state == "down":
        guide.system.stop()
        for path in old:
            os.utime(os.path.join(queue, path), (0, 1700000000))
        assert guide.type("find deferred -type f -mtime +5 | wc -l") == "20\n"
        guide.type(r"find deferred -type f -mtime +5 -exec rm {} \;")
    else:
        for path in old:
            guide.type(f"rm {path}")
    left = set(guide.ids) - {os.path.basename(path) for path in old}
    assert guide.type("find deferred -type f | wc -l") == f"{len(left)}\n"
    assert guide.listed() == left
    if is_ours(guide.system):
        assert guide.type("qshape deferred | awk 'NR==2{print $2}'") == f"{len(left)}\n"
    if state == "down":
        guide.system.start()
        assert guide.listed() == left


def test_old_files_under_a_daemon(guide):
    """All in one line, as it is typed: nothing comes between."""
    old = " ".join(guide.system.queue_files("deferred")[:20])
    assert guide.type(f"touch -d '6 days ago' {old}; find deferred -type f -mtime +5 -exec rm {{}} \\; ; "
                      "find deferred -type f | wc -l") == f"{MAILS - 20}\n"
    assert len(guide.listed()) == MAILS - 20


def test_flush_one(guide):
    guide.taking.add("example.com")
    assert guide.type(f"postqueue -i {guide.ids[10]}") == ""
    guide.system.wait_removed(guide.ids[10])
    guide.type(f"sendmail -qI{guide.ids[20]}")
    guide.system.wait_removed(guide.ids[20])
    assert [m.recipients for m in guide.sink.mails] == [["user10@example.com"], ["user20@example.com"]]
    assert guide.listed() == set(guide.ids) - {guide.ids[10], guide.ids[20]}


def wait_sent(guide, ids):
    for queue_id in ids:
        guide.system.wait_removed(queue_id)
    assert guide.listed() == set(guide.ids) - ids


def test_flush_site(guide):
    """relay_domains are flushed by site because fast_flush_domains is that; others are refused."""
    guide.taking |= {"example.com", "d1.test"}
    guide.type("postqueue -s d1.test", code=69)
    assert guide.said \
        == 'postqueue: fatal: Flush service is not configured for destination "d1.test"\n'
    assert guide.type("postqueue -s example.com") == ""
    wait_sent(guide, guide.of(lambda n: domain(n) == "example.com"))


def test_flush_site_of_sendmail(guide):
    guide.taking.add("example.com")
    guide.type("sendmail -qRexample.com")
    wait_sent(guide, guide.of(lambda n: domain(n) == "example.com"))


def test_no_site_is_configured(scratch, root):
    system = pp_harness.system_under_test(scratch, relay_domains="").start()
    done = system.command("postqueue", "-s", "example.com")
    assert (done.returncode, done.stdout, done.stderr) == (
        69, "", 'postqueue: fatal: Flush service is not configured for destination "example.com"\n')


@pytest.mark.parametrize("line", ["postqueue -f", "sendmail -q", "mailq -q"])
def test_flush_all(guide, line):
    guide.taking |= {domain(n) for n in range(10)}
    assert guide.type(line) == ""
    for queue_id in guide.ids:
        guide.system.wait_removed(queue_id)
    assert guide.type("mailq") == "Mail queue is empty\n"
    assert len(guide.sink.mails) == MAILS


def test_requeue_all(guide):
    guide.taking |= {domain(n) for n in range(10)}
    guide.type("postsuper -r ALL")
    summary(guide, "Requeued", MAILS)
    guide.system.log.wait_for(r"qmgr\[\d+\]: \w+: removed", count=MAILS, timeout=2 * TIMEOUT)
    assert guide.type("mailq") == "Mail queue is empty\n"
    assert sorted(m.recipients[0] for m in guide.sink.mails) == sorted(map(recipient, range(MAILS)))


def test_expire(guide):
    guide.type(f"postsuper -e {guide.ids[7]}")
    summary(guide, "Force-expired", 1)
    assert guide.type("mailq | grep -c '^[A-F0-9]*#'") == "1\n"
    guide.type("postqueue -f")
    guide.system.log.wait_for(rf"{guide.ids[7]}: from=<.*>, status=force-expired, returned to sender")
