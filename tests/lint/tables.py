"""tables.py - each row of the parameter tables has a manual line, a use and a place."""

import re

import source

ROW = re.compile(r'(?ms)^(TEXT|RAW|STR|BOOL|INT|SIZE|TIME|ENUM)\((\w+),(.*?)\)$')


def rows(tree, path):
    """(line number, type, name, level, doc) of each row."""
    for match in ROW.finditer(tree.text(path)):
        rest = match.group(3)
        doc = re.search(r'"((?:[^"\\]|\\.)*)"\s*(?:"((?:[^"\\]|\\.)*)"\s*)*$', rest)
        level = re.search(r"\b(EFFECT|LATER|IGNORED|OBSOLETE|[A-Z]{4,})\b(?=\s*,\s*\")", rest)
        yield (tree.text(path)[:match.start()].count("\n") + 1, match.group(1), match.group(2),
               level and level.group(1), doc.group(1) if doc else "")


def check(tree):
    bad, seen = [], {}
    code = "\n".join("\n".join(tree.lines(p)) for p in tree.select(r"src/.*\.[ch]"))
    words = set(re.findall(r"\w+", code))
    for path in tree.select(r"include/pp/tbl/params_.*\.def"):
        if path.endswith("params_all.def"):
            continue
        if f'#include "{path.removeprefix("include/")}"' not in tree.text(
                "include/pp/tbl/params_all.def"):
            bad.append(f"{path}:1: not in params_all.def")
        for number, _, name, level, doc in rows(tree, path):
            where = f"{path}:{number}: {name}"
            if name in seen:
                bad.append(f"{where} stands in {seen[name]} already")
            seen[name] = path
            if not doc:
                bad.append(f"{where} has no text for the manual")
            elif doc.endswith("."):
                bad.append(f"{where}: the text ends in a dot")
            if level is None:
                bad.append(f"{where} has no level")
            if level == "EFFECT" and not _used(name, words):
                bad.append(f"{where} claims to have effect, and nothing in src reads it")
    return bad


def _used(name, words):
    """Read by its field, by its name as a string, or by a suffix that a transport's name precedes."""
    forms = {name, f"_{name}", re.sub(r"^(?:smtp|lmtp|default|smtpd)_", "", name),
             re.sub(r"^lmtp_", "smtp_", name)}
    return bool(forms & words)


def test_tree():
    source.expect_none(check(source.Tree()))


def test_rows_are_found():
    tree = source.Tree()
    found = [row for path in tree.select(r"include/pp/tbl/params_.*\.def") for row in rows(tree, path)]
    assert len(found) > 100
    assert len(found) == sum(len(re.findall(r"(?m)^[A-Z]+\(", tree.text(path)))
                             for path in tree.select(r"include/pp/tbl/params_.*\.def"))


def test_bad_example(tmp_path):
    tree = source.example(tmp_path, {
        "include/pp/tbl/params_all.def": '#include "pp/tbl/params_a.def"\n',
        "include/pp/tbl/params_a.def": 'TEXT(used, "", EFFECT, "What it does")\n'
                                       'INT(unused, "1", 0, 2, EFFECT, "What it does")\n'
                                       'BOOL(mute, "no", LATER, "")\nTEXT(used, "", LATER, "Dot.")\n',
        "include/pp/tbl/params_b.def": "",
        "src/config/a.c": "x = p->used;\n"})
    path = "include/pp/tbl/params_a.def"
    assert check(tree) == [
        f"{path}:2: unused claims to have effect, and nothing in src reads it",
        f"{path}:3: mute has no text for the manual",
        f"{path}:4: used stands in {path} already",
        f"{path}:4: used: the text ends in a dot",
        "include/pp/tbl/params_b.def:1: not in params_all.def"]
