"""layers.py - a folder includes only what its line in src/layers.txt allows, and links only that."""

import os
import re

import objects
import source

INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


def check(tree):
    layers, bad = tree.layers(), []
    seen = []
    for folder, allowed in layers.items():
        bad += [f"src/layers.txt: {folder} names {a}, which is not above it" for a in allowed
                if a not in seen]
        seen.append(folder)
    for path in tree.select(r"(?:src|include/pp|tests/unit|tests/fuzz)/\w+/.*\.[ch]"):
        folder = source.folder_of(path)
        if folder == "tbl":
            continue
        if folder not in layers:
            bad.append(f"{path}:1: {folder} is not in src/layers.txt")
            continue
        for number, line in enumerate(tree.lines(path), 1):
            match = INCLUDE.match(line)
            if match:
                why = _refuse(tree, layers, folder, path, match.group(1))
                if why:
                    bad.append(f"{path}:{number}: {why}")
    return bad


def _refuse(tree, layers, folder, path, name):
    public = re.match(r"pp/(\w+)/", name)
    if public:
        other = public.group(1)
        if other in (folder, "tbl") or other in layers[folder]:
            return None
        return f"{folder} may not include {other}"
    if path.startswith("include/"):
        return f"a public header may not include the private {name}"
    if path.startswith("tests/"):
        other = name.split("/")[0]
        if "/" in name and other in layers and other != folder:
            return f"a test of {folder} may not include {other}'s private {name}"
        return None
    if f"src/{folder}/{name}" not in tree.files:
        return f"{name} is no header of {folder}"
    return None


def check_objects(layers, build=None):
    """The same from the symbols: what a library needs is defined in an allowed one or outside."""
    libraries = objects.libraries(layers, build)
    home = {}
    for folder, found in libraries.items():
        for symbol in found:
            if symbol.is_global and symbol.section != "*UND*":
                home[symbol.name] = folder
    return [f"{folder}/{symbol.member}: {folder} may not use {symbol.name} of {home[symbol.name]}"
            for folder, found in libraries.items() for symbol in found
            if symbol.section == "*UND*" and symbol.name in home
            and home[symbol.name] != folder and home[symbol.name] not in layers[folder]]


def test_tree():
    source.expect_none(check(source.Tree()))


def test_objects():
    layers = source.Tree().layers()
    assert set(objects.libraries(layers)) == {
        f for f in layers if any(n.endswith(".c") for n in os.listdir(f"{source.TOP}/src/{f}"))}
    source.expect_none(check_objects(layers))


def test_bad_include(tmp_path):
    tree = source.example(tmp_path, {
        "src/layers.txt": "base:\nnet: base\ncommand: base later\n",
        "src/base/a.c": '#include "pp/base/a.h"\n#include "pp/command/b.h"\n',
        "src/net/c.c": '#include "pp/base/a.h"\n#include "internal.h"\n',
        "include/pp/net/c.h": '#include "secret.h"\n',
        "tests/unit/base/a_test.c": '#include "net/internal.h"\n',
        "src/odd/d.c": ""})
    assert check(tree) == [
        "src/layers.txt: command names later, which is not above it",
        "include/pp/net/c.h:1: a public header may not include the private secret.h",
        "src/base/a.c:2: base may not include command",
        "src/net/c.c:2: internal.h is no header of net",
        "src/odd/d.c:1: odd is not in src/layers.txt",
        "tests/unit/base/a_test.c:1: a test of base may not include net's private net/internal.h"]


def test_bad_link(tmp_path):
    objects.compile_example(tmp_path, "base", "void net_x(void); void base_y(void) { net_x(); }\n")
    objects.compile_example(tmp_path, "net", "void net_x(void) {}\n")
    (bad,) = check_objects({"base": [], "net": ["base"]}, str(tmp_path))
    assert bad.endswith("base may not use net_x of net")
