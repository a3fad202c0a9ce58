"""symbols.py - from the object files: no mutable globals, and names that say where they live."""

import os
import re

import objects
import source

# Folders that may keep state for the process: the thread model, and programs of one thread.
STATEFUL = {"runtime", "command"}
# What belongs to a library that is loaded late: the addresses of its functions, and its own state.
LIBRARIES = {"openssl_calls", "sasl_library_calls", "sasl_library_is_started", "idna_calls"}
CONST = (".text", ".rodata", ".data.rel.ro")


def stem_of(symbol):
    """src_base_str.c.o -> str"""
    return re.sub(r"^.*src_[a-z]+_", "", symbol.member).removesuffix(".o").removesuffix(".c")


def check_globals(libraries):
    return [f"{s.library}/{stem_of(s)}.c: {s.name} is a mutable global"
            for folder, found in libraries.items() if folder not in STATEFUL for s in found
            if s.section.startswith((".data", ".bss", ".tdata", ".tbss", "*COM*"))
            and not s.section.startswith(".data.rel.ro")
            and not s.section.startswith(".data.rel.local.ro")
            and not s.name.startswith((".", "__")) and s.name not in LIBRARIES]


def nouns(tree, folder):
    """What a name of the folder may begin with: its headers, and the structs they define."""
    found = {folder}
    for path in tree.select(rf"include/pp/{folder}/.*\.h", rf"src/{folder}/.*\.h"):
        found.add(re.sub(r".*/|\.h$", "", path))
        found |= set(re.findall(r"(?m)^struct (\w+)", tree.text(path)))
    return found


def check_names(libraries, tree):
    bad = []
    for folder, found in libraries.items():
        for s in found:
            if not s.is_global or s.section == "*UND*" or s.name.startswith("_"):
                continue
            stem = stem_of(s)
            if s.name != stem and not any(s.name.startswith(f"{n}_")
                                          for n in nouns(tree, folder) | {stem}):
                bad.append(f"{folder}/{stem}.c: {s.name} does not say where it lives")
    return bad


def built():
    return objects.libraries(source.Tree().layers())


def test_globals():
    source.expect_none(check_globals(built()))


def test_names():
    source.expect_none(check_names(built(), source.Tree()))


def test_bad_example(tmp_path):
    objects.compile_example(tmp_path, "net", "static int counter; int *net_get(void) { return &counter; }\n"
                            "int started = 1; const int net_table[] = {1};\n"
                            "static const char *const words[] = {\"a\"};\n"
                            "const char *const *net_words(void) { return words; }\n"
                            "void other(void) {}\n")
    libraries = objects.libraries(["net"], str(tmp_path))
    assert sorted(check_globals(libraries)) == ["net/net.c: counter is a mutable global",
                                               "net/net.c: started is a mutable global"]
    assert sorted(check_names(libraries, source.Tree(tmp_path))) == ["net/net.c: other does not say where it lives",
                                             "net/net.c: started does not say where it lives"]
    assert os.path.exists(os.path.join(str(tmp_path), "libnet.a"))
