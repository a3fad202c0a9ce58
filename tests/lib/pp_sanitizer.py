"""pp_sanitizer.py - what a sanitizer says of any program that a test starts, whatever becomes of it.

The exit code tells nothing of a program that is killed at the end of the test, as most daemons are, or
that is expected to fail. So reports go to files, and a test that leaves one has failed.
"""

import atexit
import os
import shutil
import tempfile

FOLDER = None


def collect():
    """From now on, of all that this process starts."""
    global FOLDER
    if not os.environ.get("PENNYPOST_SANITIZE"):
        return
    FOLDER = tempfile.mkdtemp(prefix="pp-sanitizer-")
    os.chmod(FOLDER, 0o1777)  # for the daemon, too, when it has given up root
    atexit.register(shutil.rmtree, FOLDER, True)
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"):
        os.environ[name] = f"{os.environ.get(name, '')}:log_path={FOLDER}/report".lstrip(":")


def take():
    """The reports since the last call, as text."""
    said = ""
    for name in sorted(os.listdir(FOLDER)) if FOLDER else []:
        path = os.path.join(FOLDER, name)
        with open(path, encoding="utf-8", errors="replace") as file:
            said += f"-- {name}\n{file.read()}"
        os.unlink(path)
    return said
