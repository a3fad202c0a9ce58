"""manual.py - the pages are well-formed, name every command, and only functions that exist."""

import re
import subprocess
import sys

import source

PAGES = r"man/[\w.-]+\.[0-9]"


def complaints(text, where):
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=text.encode(),
                          stdout=subprocess.PIPE, check=False)
    return [line.replace("mandoc: <stdin>", where)
            for line in done.stdout.decode().splitlines() if line]


def generated(tree):
    done = subprocess.run([sys.executable, "man/params.py", "man/main.cf.5.in", "include/pp/tbl"],
                          cwd=tree.top, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def check_functions(tree):
    known = {f.name for path in tree.select(r"src/.*\.c") for f in tree.functions(path)}
    return [f"{path}:{number}: there is no function {name}"
            for path in tree.select(PAGES) for number, line in enumerate(tree.lines(path), 1)
            for name in re.findall(r"\bFn (\w+)", line) if name not in known]


def check_commands(tree):
    page = "\n".join(tree.lines("man/pennypost.8"))
    named = set(re.findall(r"\w+", " ".join(re.findall(r"(?m)^\.It Cm (.*)", page))))
    rows = re.findall(r"(?m)^COMMAND\((\w+), \w+, (\w+),", tree.text("include/pp/tbl/commands.def"))
    bad = [f"man/pennypost.8: {word} is missing" for word, _ in rows if word not in named]
    titles = " ".join(re.findall(r"(?ms)^\.Sh NAME\n(.*?)^\.Sh", "".join(
        tree.text(path) for path in tree.select(r"man/\w+\.1"))))
    return bad + [f"man: {word} has no page" for word, is_link in rows
                  if is_link == "true" and word not in re.findall(r"\w+", titles)]


def test_pages():
    tree = source.Tree()
    bad = [line for path in tree.select(PAGES) for line in complaints(tree.text(path), path)]
    source.expect_none(bad + check_functions(tree) + check_commands(tree))


def test_parameters():
    tree = source.Tree()
    page = generated(tree)
    bad = complaints(page, "main.cf.5")
    for path in tree.select(r"include/pp/tbl/params_\w+\.def"):
        for name in re.findall(r"(?m)^[A-Z]+\((\w+),", tree.text(path)):
            if not re.search(rf"(?m)^\.(?:It )?Va {name.lstrip('_')}(?: [,.])?$", page):
                bad.append(f"{path}: {name} is not in main.cf.5")
    source.expect_none(bad)


def test_bad_example(tmp_path):
    tree = source.example(tmp_path, {
        "man/pennypost.8": ".Dd x\n.It Cm run\n.Fn base_run\n.Pq Fn base_gone , Fn base_run\n",
        "man/sendmail.1": ".Sh NAME\n.Nm sendmail\n.Sh SYNOPSIS\n.Nm mailq\n",
        "src/base/a.c": "void\nbase_run(void)\n{\n}\n",
        "include/pp/tbl/commands.def": 'COMMAND(run, r, false, "x")\nCOMMAND(stop, s, false, "x")\n'
                                       'COMMAND(mailq, m, true, "x")\n'})
    assert check_functions(tree) == ["man/pennypost.8:4: there is no function base_gone"]
    assert check_commands(tree) == ["man/pennypost.8: stop is missing",
                                    "man/pennypost.8: mailq is missing", "man: mailq has no page"]
    assert complaints(".Dd x\n.Bogus\n", "page")
