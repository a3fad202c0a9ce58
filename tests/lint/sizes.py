"""sizes.py - files, functions, nesting and headers have limits; only a tool keeps the tail short."""

import re

import source

FILE, FUNCTION, NESTING, HEADER, COLUMNS = 600, 70, 4, 150, 100


def check(tree):
    bad = []
    for path in tree.select(r"(?:src|include|tests)/.*\.(?:c|h|py|sh)", r"meson\.build", r"tests/\w+/run",
                            r"tests/run"):
        count = len(tree.lines(path))
        if count > FILE:
            bad.append(f"{path}:{FILE}: {count} lines, at most {FILE}")
    for path in tree.select(r"include/pp/.*\.h"):
        count = len(tree.lines(path))
        if count > HEADER:
            bad.append(f"{path}:{HEADER}: {count} lines in a public header, at most {HEADER}")
    for path in tree.c_files(tests=True):
        bad += _check_functions(tree, path)
    for path in tree.c_files():
        bad += [f"{path}:{number}: {_width(line)} columns, at most {COLUMNS}"
                for number, line in enumerate(tree.lines(path), 1) if _width(line) > COLUMNS]
    return bad


def _check_functions(tree, path):
    bad = []
    for function in tree.functions(path):
        length = len(function.lines)
        if length > FUNCTION and not path.startswith("tests/"):
            bad.append(f"{path}:{function.line}: {function.name} has {length} lines, "
                       f"at most {FUNCTION}")
        for number, line in enumerate(function.lines, function.line):
            depth = len(line) - len(line.lstrip("\t"))
            if depth > NESTING and source.CONTROL.match(line):
                bad.append(f"{path}:{number}: {function.name} is nested {depth} deep, "
                           f"at most {NESTING}")
                break
    return bad


def _width(line):
    return len(line.expandtabs(8))


def test_tree():
    source.expect_none(check(source.Tree()))


def test_bad_example(tmp_path):
    deep = "".join("\t" * i + "if (x)\n" for i in range(1, 6))
    tree = source.example(tmp_path, {
        "src/base/long.c": "int a;\n" * 601,
        "include/pp/base/long.h": "int a;\n" * 151,
        "src/base/fn.c": "static int\nlong_one(int x)\n{\n" + "\tx++;\n" * 70 + "}\n"
                         "int\ndeep_one(int x)\n{\n" + deep + "\t\t\t\t\t\tx++;\n}\n",
        "src/base/wide.c": "\t" + "x" * 93 + "\n"})
    assert check(tree) == [
        "src/base/long.c:600: 601 lines, at most 600",
        "include/pp/base/long.h:150: 151 lines in a public header, at most 150",
        "src/base/fn.c:2: long_one has 73 lines, at most 70",
        "src/base/fn.c:82: deep_one is nested 5 deep, at most 4",
        "src/base/wide.c:1: 101 columns, at most 100"]


def test_functions_are_found():
    """The lint sees what it measures: as many functions as there are closing braces."""
    tree = source.Tree()
    for path in tree.select(r"src/.*\.c"):
        bodies = len(re.findall(r"(?m)^\}$", "\n".join(tree.code(path))))
        assert len(tree.functions(path)) == bodies, path
