"""source.py - what the lints share: the files of a tree, and C as lines without comments."""

import os
import re
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONTROL = re.compile(r"\t*(?:if|for|while|switch|do|TAILQ_FOREACH\w*|HASH_ITER)\b")

# With an attribute between type and name clang-format keeps all on one line.
ATTRIBUTED = re.compile(r"[a-z][\w *]*(?:__attribute__\(\(.*?\)\)|PP_\w+\([^)]*\)) \*?(\w+)\(")


class Function:
    def __init__(self, name, line, static):
        self.name, self.line, self.static, self.lines = name, line, static, []


class Tree:
    """A checkout: the files that git knows or would add, or simply all of a bad example."""

    def __init__(self, top=TOP):
        self.top = str(top)
        done = subprocess.run(["git", "-C", self.top, "ls-files", "-co", "--exclude-standard"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        if done.returncode == 0 and os.path.exists(os.path.join(self.top, ".git")):
            names = done.stdout.decode().splitlines()
        else:
            names = [os.path.relpath(os.path.join(folder, name), self.top)
                     for folder, _, files in os.walk(self.top) for name in files]
            names = [n for n in names if not re.search(r"^build|__pycache__|\.pyc$", n)]
        self.files = sorted({n for n in names if os.path.isfile(os.path.join(self.top, n))})
        self.texts = {}

    def text(self, path):
        if path not in self.texts:
            with open(os.path.join(self.top, path), encoding="utf-8", errors="replace") as file:
                self.texts[path] = file.read()
        return self.texts[path]

    def lines(self, path):
        return self.text(path).split("\n")[:-1] if self.text(path) else []

    def select(self, *patterns):
        """Files whose path matches one of the regular expressions."""
        return [f for f in self.files if any(re.fullmatch(p, f) for p in patterns)]

    def c_files(self, tests=False):
        roots = "src|include/pp" + ("|tests" if tests else "")
        return self.select(rf"(?:{roots})/.*\.[ch]")

    def code(self, path):
        """The lines of a C file with comments, strings and characters emptied."""
        return _blank(self.text(path)).split("\n")

    def functions(self, path):
        """Definitions in the style of the house: the name begins a line, the body is between braces
        at the left margin."""
        found, current = [], None
        code = self.code(path)
        for number, line in enumerate(code, 1):
            match = re.match(r"([a-zA-Z_]\w*)\(", line)
            attributed = ATTRIBUTED.match(line)
            if current is None and attributed and not line.rstrip().endswith(";"):
                current = Function(attributed.group(1), number, line.startswith("static"))
            elif current is None and match and not line.rstrip().endswith(";") and number > 1:
                before = code[number - 2]
                if re.match(r"[A-Za-z_]", before) and not before.rstrip().endswith((";", ",", "\\")):
                    current = Function(match.group(1), number, before.startswith("static"))
            if current is not None:
                current.lines.append(line)
                if line.startswith("}"):
                    found.append(current)
                    current = None
                elif line.endswith(";") and len(current.lines) < 8 and "{" not in "".join(
                        current.lines):
                    current = None  # a prototype
        return found

    def layers(self):
        """folder -> the folders it may include."""
        rows = {}
        for line in self.lines("src/layers.txt"):
            if not line.startswith("#") and ":" in line:
                folder, allowed = line.split(":")
                rows[folder.strip()] = allowed.split()
        return rows


def _blank(text):
    """Comments, strings and characters become blanks; lines stay where they are."""
    def empty(match):
        found = match.group(0)
        if found.startswith("/"):
            return re.sub(r"[^\n]", " ", found)
        return found[0] + " " * (len(found) - 2) + found[-1]
    return re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", empty, text,
                  flags=re.S)


def expect_none(findings):
    """Fails with all of them, one a line."""
    if findings:
        raise AssertionError(f"{len(findings)} findings\n" + "\n".join(findings))


def example(folder, files):
    """A tree of a test's own."""
    for name, text in files.items():
        path = os.path.join(str(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return Tree(folder)


def folder_of(path):
    """src/base/x.c and include/pp/base/x.h belong to base."""
    match = re.match(r"(?:src|include/pp|tests/unit|tests/fuzz)/(\w+)/", path)
    return match.group(1) if match else None
