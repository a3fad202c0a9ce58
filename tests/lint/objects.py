"""objects.py - what the object files say: symbols per library, with the sections they are in."""

import os
import re
import subprocess

BUILD = os.environ.get("PENNYPOST_BUILD") or os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "build")


class Symbol:
    def __init__(self, library, member, name, section, is_global):
        self.library, self.member, self.name = library, member, name
        self.section, self.is_global = section, is_global


def symbols(library, path):
    """The symbols of one static library: section *UND* is what it needs from elsewhere."""
    text = subprocess.run(["objdump", "-t", path], stdout=subprocess.PIPE, check=True).stdout.decode()
    member, found = "", []
    for line in text.splitlines():
        match = re.match(r"(\S+):\s+file format", line)
        if match:
            member = os.path.basename(match.group(1))
            continue
        match = re.match(r"[0-9a-f]+ (.)....(.)(.) (\S+)\s+[0-9a-f]+ (?:\.hidden )?(\S+)$", line)
        if match and match.group(3) not in "fd":
            found.append(Symbol(library, member, match.group(5), match.group(4),
                                match.group(1) == "g" or match.group(4) == "*UND*"))
    return found


def libraries(folders, build=None):
    """{folder: its symbols} for each folder whose library is there."""
    build = build or BUILD
    return {folder: symbols(folder, os.path.join(build, f"lib{folder}.a")) for folder in folders
            if os.path.exists(os.path.join(build, f"lib{folder}.a"))}


def compile_example(folder, name, text):
    """A static library of one C file, for the self-tests."""
    source = os.path.join(str(folder), f"{name}.c")
    with open(source, "w", encoding="ascii") as file:
        file.write(text)
    stem = os.path.join(str(folder), name)
    subprocess.run(["gcc", "-c", "-fno-common", "-fPIC", source, "-o", f"{stem}.o"], check=True)
    subprocess.run(["ar", "rcsT", os.path.join(str(folder), f"lib{name}.a"), f"{stem}.o"], check=True)
