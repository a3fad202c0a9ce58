"""params.py - the parameter part of main.cf(5), from the rows of the parameter tables.

usage: params.py main.cf.5.in TABLE_DIRECTORY > main.cf.5

A row is also the parser, the default and the range check (include/pp/config/params.h), so the page
cannot say anything else than the program does. Rows without meaning here are named only.
"""

import os
import re
import sys

ROW = re.compile(r"(?ms)^(TEXT|RAW|BOOL|INT|SIZE|TIME|ENUM|TRANSPORT)\((.*?)\)$")
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,"]+|,')
NOTES = {"LATER": "(Accepted, without effect in this version.)"}
WORDS = {"BOOL": "yes or no", "SIZE": "bytes", "TIME": "a time", "INT": "a number", "ENUM": "a word",
         "RAW": "expanded when it is used"}
LARGEST = "INT32_MAX"


def unquote(token):
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m.group(1), m.group(1)), token[1:-1])


def arguments(text):
    """The arguments of a row; neighbouring strings are one."""
    found = [[]]
    for token in TOKEN.findall(text):
        if token == ",":
            found.append([])
        elif token.startswith('"'):
            found[-1].append(unquote(token))
        else:
            found[-1].append(token)
    return ["".join(parts) for parts in found]


def plain(text):
    """Text that roff takes as it is."""
    text = text.replace("\\", "\\e")
    return "\\&" + text if text[:1] in (".", "'") else text


def quoted(text):
    """One macro argument, never taken for a macro itself."""
    return '"\\&' + text.replace("\\", "\\e").replace('"', '""').replace("\n", "\\en") + '"'


def value_line(kind, args):
    words = WORDS.get(kind, "")
    if kind == "ENUM":
        words = "one of " + ", ".join(w for w in args[2].split("|") if w)
    if kind == "INT":
        words = f"{args[2]} to {args[3]}" if args[3] != LARGEST else f"at least {args[2]}"
    return words[:1].upper() + words[1:]


def entry(kind, args):
    name, default, level, doc = args[0].lstrip("_"), args[1], args[-2], args[-1]
    lines = [f".It Va {name}", plain(doc) + "."]
    if level in NOTES:
        lines.append(NOTES[level])
    words = value_line(kind, args)
    if words:
        lines.append(plain(words) + ".")
    if name == "mail_version":
        return lines
    lines += ["Default:", f".Ql {quoted(default)} ."] if default else ["Default: empty."]
    return lines


def tables(folder):
    """(title, rows) of each table, in the order of params_all.def."""
    with open(os.path.join(folder, "params_all.def"), encoding="utf-8") as file:
        names = re.findall(r'#include "pp/tbl/(.*)"', file.read())
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = file.read()
        title = re.match(r"/\* (.*?)[.;]? *(?:Rows: .*)?\*/", text).group(1).rstrip(". ")
        yield title, [(kind, arguments(rest)) for kind, rest in ROW.findall(text)]


def parameters(folder):
    out, moot = [], []
    for title, rows in tables(folder):
        moot += [args[0].lstrip("_") for _, args in rows if args[-2] == "MOOT"]
        out += [f".Ss {title}", ".Bl -tag -width 4n"]
        for kind, args in sorted(rows, key=lambda row: row[1][0].lstrip("_")):
            if args[-2] != "MOOT":
                out += entry(kind, args)
        out.append(".El")
    out += [".Sh PARAMETERS WITHOUT MEANING", "Accepted from a main.cf made for Postfix, and ignored:"]
    moot.sort()
    out += [f".Va {name} ," for name in moot[:-1]] + [f".Va {moot[-1]} ."]
    return "\n".join(out)


def transports(folder):
    levels = {args[0]: args[-2] for _, rows in tables(folder) for _, args in rows}
    with open(os.path.join(folder, "transport_params.def"), encoding="utf-8") as file:
        rows = [arguments(rest) for _, rest in ROW.findall(file.read())]
    out = [".Bl -tag -width 4n"]
    for what, fallback in rows:
        out += [f".It Ar transport Ns Va _{what}", "Where it is not set:", f".Va {fallback} ."]
        out += [NOTES[levels[fallback]]] if levels[fallback] in NOTES else []
    return "\n".join(out + [".El"])


def main(template, folder):
    with open(template, encoding="utf-8") as file:
        page = file.read()
    page = page.replace("@PARAMETERS@", parameters(folder)).replace("@TRANSPORTS@", transports(folder))
    sys.stdout.write(page)


if __name__ == "__main__":
    main(*sys.argv[1:])
