"""tree.py - where things lie, how C is laid out, and words that do not belong in a finished thing."""

import re
import subprocess

import source

TOP = {"meson.build", "meson_options.txt", "README.md", "LICENSE", "src", "include", "subprojects", "etc", "tests", "man"}
HIDDEN = {".clang-format", ".editorconfig", ".gitignore", ".ci", ".gitattributes"}
# Written in two pieces, so that this file passes itself.
WORDS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|(?<!command )not imple" r"mented|place" r"holder", re.I)
CASED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|[a-z ]{8,}")
MACHINE = re.compile(r"/wo" r"rk/|\bsha" r"red/|\bshared (?:sp" r"ec|des" r"ign)|/ro" r"ot/|/ho" r"me/\w+/|"
                     r"\.py" r"env|/tmp/w" r"/")


def check_places(tree):
    bad = []
    layers = tree.layers()
    for top in sorted({path.split("/")[0] for path in tree.files}):
        if top not in TOP | HIDDEN:
            bad.append(f"{top}: does not belong at the top level")
    for path in tree.select(r"src/.*", r"include/.*"):
        folder = source.folder_of(path)
        if path != "src/layers.txt" and folder not in layers and folder != "tbl":
            bad.append(f"{path}: no folder of src/layers.txt")
        elif not re.search(r"\.(c|h|def|txt)$", path):
            bad.append(f"{path}: neither C nor a table")
    for path in tree.select(r"src/.*\.[ch]", r"include/.*\.[h]"):
        if not tree.text(path).startswith("/*"):
            bad.append(f"{path}:1: does not open by saying what it is")
    return bad


def check_words(tree):
    bad = []
    for path in tree.select(r"(?:src|include|tests|etc|man)/.*", r"README\.md", r"meson\.build"):
        if path.startswith(("tests/corpus/", "tests/fuzz/corpus/")):
            continue
        for number, line in enumerate(tree.lines(path), 1):
            match = WORDS.search(line)
            if match and CASED.search(match.group(0)):
                bad.append(f"{path}:{number}: {match.group(0)}")
            match = MACHINE.search(line)
            if match:
                bad.append(f"{path}:{number}: {match.group(0)} names a place of one machine")
    return bad


def check_format(tree, paths):
    if not paths:
        return []
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", "--ferror-limit=1",
                           "--style=file", *paths], cwd=tree.top, stderr=subprocess.PIPE, check=False)
    return sorted(set(re.findall(r"(?m)^([^\s:]+\.[ch]:\d+):\d+: error", done.stderr.decode())))


def test_places():
    source.expect_none(check_places(source.Tree()))


def test_words():
    source.expect_none(check_words(source.Tree()))


def test_format():
    tree = source.Tree()
    source.expect_none(check_format(tree, tree.c_files(tests=True)))


def test_bad_places(tmp_path):
    tree = source.example(tmp_path, {"notes.txt": "", "src/layers.txt": "base:\n", "src/odd/a.c": "/*",
                                     "src/base/a.py": "", "src/base/b.c": "int a;\n"})
    assert check_places(tree) == ["notes.txt: does not belong at the top level",
                                  "src/base/a.py: neither C nor a table",
                                  "src/odd/a.c: no folder of src/layers.txt",
                                  "src/base/b.c:1: does not open by saying what it is"]


def test_bad_words(tmp_path):
    tree = source.example(tmp_path, {"src/a.c": "/* TO" "DO */\nhack\nNot imple" "mented\n",
                                     "etc/b": "x = /wo" "rk/main\n"})
    assert check_words(tree) == ["etc/b:1: /wo" "rk/ names a place of one machine",
                                 "src/a.c:1: TO" "DO", "src/a.c:3: Not imple" "mented"]


def test_bad_format(tmp_path):
    tree = source.example(tmp_path, {"a.c": "int\nx( void ){return 1;}\n", "good.c": "int a;\n",
                                     ".clang-format": "BasedOnStyle: LLVM\n"})
    assert check_format(tree, ["a.c", "good.c"]) == ["a.c:1"] or check_format(tree, ["a.c"])
    assert check_format(tree, ["good.c"]) == []
