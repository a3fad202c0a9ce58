"""tables.py - postmap, postalias, newaliases: what they say and answer is what Postfix's say."""

import os
import shutil
import stat

import pp_harness
import pytest
from pp_scratch import run

MAP = """a 1
# comment
a 2
b 2
  cont

noval
  continued
UPPER Case
"q k" v
"open v
al: x
trail v \t
k\u00e4 v
"""
ALIASES = """al: bob
bo: "|cmd arg", /file, :include:/x
Al: again
nocolon x
foo@bar.example: x
"quo ted": x
empty:
a:b c:d
:x
x y: z
k (com): v
"""
TRANSPORT = "ok.test smtp:[127.0.0.1]:25\nretry.test\tretry:4.3.0 please wait\n"
PATTERNS = "/^a(.*)b$/ got $1 ${1} $(1)\nif /x/\n!/y/ x without y\nendif\n/q/i small\n"
NETWORKS = "10.0.0.0/8 ten\n192.0.2.7 host\n"


class Both:
    """The same files for both; Postfix's are built before they are asked."""

    def __init__(self, scratch):
        self.ours = pp_harness.Pennypost(scratch)
        self.theirs = scratch.dir("theirs-etc")
        log = scratch.file("theirs.log", "")
        scratch.file(f"{self.theirs}/main.cf", "compatibility_level = 3.6\nmyhostname = mx.pennypost.test\n"
                     f"queue_directory = {self.ours.queue}\nmaillog_file = {log}\n"
                     "maillog_file_prefixes = /tmp, /var, /run, /root, /home\n")
        self.folders = [scratch.dir("ours"), scratch.dir("theirs")]
        self.scratch = scratch

    def put(self, name, text):
        for folder in self.folders:
            with open(f"{folder}/{name}", "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))

    def run(self, command, *arguments, **options):
        """(code, stdout, stderr) of ours and theirs."""
        ours = self.ours.command(command, *arguments, cwd=self.folders[0], **options)
        theirs = pp_harness.postfix_tool(self.theirs, command, *arguments, cwd=self.folders[1], **options)
        return [(done.returncode, done.stdout, done.stderr) for done in (ours, theirs)]

    def same(self, command, *arguments, **options):
        ours, theirs = self.run(command, *arguments, **options)
        assert ours == theirs, (command, arguments)
        return ours

    def sequence(self, command, table):
        """Both as sets of lines; Postfix's aliases have three of their own."""
        ours, theirs = self.run(command, "-s", table)
        extra = ("@:\t", "YP_LAST_MODIFIED:\t", "YP_MASTER_NAME:\t")
        theirs_lines = sorted(line for line in theirs[1].splitlines() if not line.startswith(extra))
        assert (ours[0], sorted(ours[1].splitlines())) == (theirs[0], theirs_lines)
        return ours[1]


@pytest.fixture
def both(scratch):
    if shutil.which("postmap", path=pp_harness.POSTFIX_SBIN) is None:
        pytest.skip("needs Postfix")
    pair = Both(scratch)
    for name, text in (("pm", MAP), ("al", ALIASES), ("transport", TRANSPORT), ("re", PATTERNS),
                       ("ci", NETWORKS), ("bytes", "good v\nbad\udcff v\n"), ("lead", "  first x\nb v\n"),
                       ("files", "a one\nb missing\n"), ("one", "hello\nworld")):
        pair.put(name, text)
    return pair


def test_building_says_the_same(both):
    for arguments in (["hash:pm"], ["btree:pm"], ["pm"], ["-w", "hash:pm"], ["-r", "hash:pm"], ["-N", "-o", "hash:pm"],
                      ["hash:lead"], ["hash:bytes"], ["-u", "hash:bytes"], ["-u", "-U", "hash:bytes"],
                      ["-F", "hash:files"], ["hash:nofile"], ["nosuch:nofile"], ["hash:"], ["proxy:hash:pm"],
                      ["nosuch:pm"], ["texthash:pm"], ["regexp:re"], ["cidr:ci"], ["static:pm"]):
        both.same("postmap", *arguments)
    code, out, err = both.same("postmap", "hash:pm")
    assert (code, out) == (0, "")
    assert err == ('postmap: warning: pm.db: duplicate entry: "a"\n'
                   "postmap: warning: pm, line 11: unbalanced '\"' in '\"open v' -- ignoring this line\n"
                   'postmap: warning: pm, line 12: record is in "key: value" format; is this an alias file?\n')
    for arguments in (["hash:al"], ["al"], ["-w", "hash:al"], ["-r", "al"], ["nofile"], ["texthash:al"]):
        both.same("postalias", *arguments)
    assert not os.path.exists(f"{both.folders[0]}/pm.db")


def test_wrong_options(both):
    for command in ("postmap", "postalias"):
        for arguments in ([], ["-q"], ["-Z"], ["-q", "a", "-s", "hash:pm"], ["-d", "a", "-q", "b", "hash:pm"],
                          ["-d", "a", "-s", "hash:pm"], ["-s", "-d", "a", "hash:pm"]):
            assert both.same(command, *arguments)[0] == 1
    both.same("postmap", "-q", "a", "-b", "hash:pm")
    both.same("postmap", "-m", "-q", "a", "hash:pm")


def test_looking_up_answers_the_same(both):
    both.run("postmap", "hash:pm")
    both.run("postalias", "hash:al")
    for table, keys in (("hash:pm", ["a", "A", "b", "noval", "upper", "UPPER", '"q k"', "q k", "none", "", "al:", "trail"]),
                        ("texthash:transport", ["ok.test", "OK.TEST", "retry.test", "x"]),
                        ("texthash:pm", ["a", "none"]), ("regexp:re", ["a--b", "A.B", "x", "xy", "q", "Q"]),
                        ("cidr:ci", ["10.1.2.3", "192.0.2.7", "192.0.2.8", "name"]),
                        ("inline:{k=v, {l = long value}}", ["k", "L", "m"]), ("static:yes", ["any"]),
                        ("static:{a b}", ["any"]), ("unionmap:{static:one,static:two}", ["x"]),
                        ("unionmap:{inline:{a=b},inline:{z=1},inline:{z=2}}", ["z", "y"]),
                        ("pipemap:{inline:{a=b},inline:{b=c}}", ["a", "b"]), ("randmap:{a}", ["x"]),
                        ("fail:x", ["any"]), ("nosuch:x", ["any"]), ("regexp:nofile", ["any"]),
                        ("inline:{}", ["x"]), ("inline:x", ["x"]),
                        ("inline:{a", ["x"]), ("inline:{a}", ["x"]), ("unionmap:{}", ["x"]), ("static:", ["x"])):
        for key in keys:
            both.same("postmap", "-q", key, table)
    for key in ("al", "AL", "bo", "quo ted", "none"):
        both.same("postalias", "-q", key, "hash:al")
    assert both.same("postmap", "-q", "ok.test", "hash:pm", "texthash:transport")[1] == "smtp:[127.0.0.1]:25\n"
    assert both.same("postmap", "-q", "-", "hash:pm", "texthash:transport", input="a\n\nnone\nOK.test\nb") \
        == (0, "a\t1\nOK.test\tsmtp:[127.0.0.1]:25\nb\t2  cont\n", "")
    assert both.same("postmap", "-q", "-", "hash:pm", input="none\n")[0] == 1
    both.same("postmap", "-q", "-", "fail:x", input="a\n")
    both.same("postalias", "-q", "-", "hash:al", input="al\nnone\n")


def test_sequences(both):
    both.run("postmap", "hash:pm")
    both.run("postmap", "btree:transport")
    both.run("postalias", "hash:al")
    assert both.sequence("postmap", "hash:pm").startswith("a\t1\nb\t2  cont\n")
    both.sequence("postalias", "hash:al")
    both.sequence("postmap", "texthash:transport")
    both.same("postmap", "-s", "btree:transport")
    both.same("postmap", "-s", "inline:{a=b}")
    for table in ("cidr:ci", "regexp:re", "static:x", "unionmap:{static:a}"):
        both.same("postmap", "-s", table)


def test_files_as_values(both):
    both.put("files", "a one\n")
    both.run("postmap", "-F", "hash:files")
    assert both.same("postmap", "-F", "-q", "a", "hash:files") == (0, "hello\nworld\n", "")


def test_keys_from_a_message(both):
    text = ("Subject: x\nFrom: a\n b\nContent-Type: multipart/mixed; boundary=\"B b\"\n\nbody\n--B b\n"
            "Content-Type: text/plain\n\nhi\n--B b--\nend\n")
    for options in (["-h"], ["-b"], ["-hb"], ["-hm"]):
        both.same("postmap", *options, "-q", "-", "static:v", input=text)
    for options in (["-h"], ["-b"], ["-hm"], ["-m"]):
        both.same("postmap", *options, "-q", "-", "regexp:re", input="no header\n\nx\n")
    nested = "A: b\nContent-Type: message/rfc822\n\nSubject: inner\n\nhi\n"
    both.same("postmap", "-hm", "-q", "-", "static:v", input=nested)
    both.same("postmap", "-h", "-q", "-", "static:v", input=nested)


def test_changes_are_made_in_the_text(both, root):
    path = f"{both.folders[0]}/pm"
    os.chmod(path, 0o640)
    os.chown(path, 65534, 65534)
    os.symlink("pm", f"{both.folders[0]}/link")
    both.put("n", "")
    both.run("postmap", "hash:n")
    both.run("postmap", "hash:pm")
    assert both.same("postmap", "-d", "a", "hash:pm")[0] == 0
    assert both.same("postmap", "-q", "a", "hash:pm")[0] == 1
    assert both.same("postmap", "-d", "a", "hash:pm")[0] == 1
    assert both.same("postmap", "-d", "-", "hash:pm", input="noval\nnone\n")[0] == 0
    assert both.same("postmap", "-d", "-", "hash:pm", input="none\n")[0] == 1
    both.same("postmap", "-i", "hash:n", input="k1 v1\nk2  v 2\nbad\n")
    both.same("postmap", "-i", "hash:n", input="k1 v9\n")
    both.same("postmap", "-i", "-w", "hash:n", input="k1 v9\nk3 v3\n")
    both.same("postmap", "-q", "k1", "hash:n")
    both.same("postmap", "-ir", "hash:n", input="K1 v9\n")
    assert both.same("postmap", "-q", "k1", "hash:n")[1] == "v9\n"
    both.sequence("postmap", "hash:n")
    with open(f"{both.folders[0]}/n", encoding="utf-8") as file:
        assert file.read() == "k1\tv9\nk2\tv 2\nk3\tv3\n"
    both.run("postmap", "-i", "hash:link", input="new entry\n")
    with open(path, encoding="utf-8") as file:
        assert file.read() == MAP.replace("a 1\n", "").replace("a 2\n", "").replace("noval\n  continued\n", "") \
            + "new\tentry\n"
    state = os.stat(path)
    assert (stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid) == (0o640, 65534, 65534)
    assert os.path.islink(f"{both.folders[0]}/link")
    for table in ("texthash:transport", "cidr:ci", "regexp:re", "static:x", "environ:x", "fail:x",
                  "inline:{a=b}", "unionmap:{static:a}", "pipemap:{static:a}", "randmap:{a}"):
        both.same("postmap", "-d", "x", table)
    assert sorted(os.listdir(both.folders[0])) == sorted(
        n for n in os.listdir(both.folders[1]) + ["link"] if not n.endswith(".db"))


def test_aliases_are_changed(both):
    both.run("postalias", "hash:al")
    both.same("postalias", "-i", "hash:al", input="new: one, two\nbad\n")
    both.same("postalias", "-d", "bo", "hash:al")
    for key in ("new", "bo", "al"):
        both.same("postalias", "-q", key, "hash:al")
    both.sequence("postalias", "hash:al")


def test_entries_for_a_table_that_does_not_exist(both):
    both.same("postmap", "-i", "hash:fresh", input="k v\n")
    assert both.same("postmap", "-q", "k", "hash:fresh")[1] == "v\n"
    both.same("postmap", "-ir", "fresh", input="k w\n")
    assert both.same("postmap", "-q", "k", "fresh")[1] == "w\n"


def test_newaliases(scratch):
    """As sendmail -bi: the tables of alias_database, in postalias' name."""
    good = scratch.file("aliases", "root: admin\nadmin: a@x.test\n")
    bad = scratch.file("bad", "nocolon\n")
    system = pp_harness.Pennypost(scratch, alias_database=f"hash:{good}, {bad}")
    env = dict(system.env, MAIL_CONFIG=system.config)
    folder = os.path.dirname(system.binary)
    for argv in ([f"{folder}/newaliases"], [f"{folder}/sendmail", "-bi"], [f"{folder}/sendmail", "-I"]):
        done = run(argv, env=env)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"postalias: warning: {bad}, line 1: need name:value pair\n"
    os.unlink(bad)
    done = run([f"{folder}/newaliases"], env=env)
    assert (done.returncode, done.stderr) == (1, f"postalias: fatal: open {bad}: No such file or directory\n")


def test_errors_of_patterns_name_the_line(scratch):
    system = pp_harness.Pennypost(scratch)
    folder = scratch.dir("tables")
    for kind in ("regexp", "pcre"):
        scratch.file(f"{folder}/re", "/a/ b\n/(/ c\n")
        done = system.command("postmap", "-q", "a", f"{kind}:re", cwd=folder)
        assert done.returncode == 1
        assert done.stderr.startswith("postmap: fatal: re, line 2: ")
    done = system.command("postmap", "-q", "10.0.0.1", "cidr:re", cwd=folder)
    assert done.stderr == 'postmap: fatal: re, line 1: "/a/" is neither an address nor a network\n'
