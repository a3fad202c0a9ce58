"""documents.py - README and manual name only what exists: paths, functions, parameters, options."""

import os
import re

import source

DOCUMENTS = (r"README\.md", r"man/.*\.[0-9]", r"tests/.*\.md", r"etc/.*")
PATH = re.compile(r"(?<![\w/.$-])((?:src|include|etc|tests|man|subprojects)/[\w./-]*\w)")
LIFE = re.compile(r"(?m)^ *\d+ +([a-z_]\w+(?:, [a-z_]\w+)*) +(\w+/\w+\.c)\b")
MAP = re.compile(r"(?m)^ {4}(\w+)/ +\w")


def check(tree):
    bad = []
    for path in tree.select(*DOCUMENTS):
        for number, line in enumerate(tree.lines(path), 1):
            bad += [f"{path}:{number}: {name} does not exist" for name in PATH.findall(line)
                    if not os.path.exists(os.path.join(tree.top, name))]
    bad += check_life(tree)
    bad += check_map(tree)
    return bad


def check_life(tree):
    """The life of a message: each function is defined in the file beside it."""
    bad, found = [], 0
    for match in LIFE.finditer(tree.text("README.md")):
        found += 1
        path = f"src/{match.group(2)}"
        if path not in tree.files:
            bad.append(f"README.md: {path} does not exist")
            continue
        names = {f.name for f in tree.functions(path)}
        bad += [f"README.md: {path} has no function {name}" for name in match.group(1).split(", ")
                if name not in names]
    if found < 10:
        bad.append(f"README.md: the life of a message has {found} steps, not ten")
    return bad


def check_map(tree):
    """The map has each folder of src, and no other."""
    named = set(MAP.findall(tree.text("README.md").partition("## The map")[2].partition("\n## ")[0]))
    layers = set(tree.layers())
    return ([f"README.md: the map has no {folder}/" for folder in sorted(layers - named)] +
            [f"README.md: the map has {folder}/, which does not exist"
             for folder in sorted(named - layers) if not os.path.isdir(f"{tree.top}/{folder}")])


def test_tree():
    source.expect_none(check(source.Tree()))


def test_bad_example(tmp_path):
    tree = source.example(tmp_path, {
        "README.md": "See etc/main.cf and etc/gone.\n## The map\n\n    base/  x\n    gone/  y\n\n"
                     "## The life\n     1 base_run, base_gone   base/a.c\n     2 x_y  base/gone.c\n",
        "etc/main.cf": "# tests/nothing.py\n",
        "src/layers.txt": "base:\nnet: base\n",
        "src/base/a.c": "void\nbase_run(void)\n{\n}\n"})
    assert check(tree) == [
        "README.md:1: etc/gone does not exist",
        "etc/main.cf:1: tests/nothing.py does not exist",
        "README.md: src/base/a.c has no function base_gone",
        "README.md: src/base/gone.c does not exist",
        "README.md: the life of a message has 2 steps, not ten",
        "README.md: the map has no net/",
        "README.md: the map has gone/, which does not exist"]
