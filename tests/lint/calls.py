"""calls.py - calls that are banned, and the one home of each third-party header."""

import re

import source

BANNED = {
    "strcpy strcat sprintf vsprintf gets scanf sscanf fscanf strtok strtok_r alloca atoi atol atoll "
    "strtol strtoul strtoll strtoull": "use str_ and buf_ of base",
    "system popen execl execlp execle execv execvp execvpe execve posix_spawn fork vfork":
        "the daemon never executes a program",
    "isalpha isdigit isalnum isspace isprint isupper islower isxdigit ispunct iscntrl tolower toupper":
        "use str_is*",
    "localtime gmtime ctime asctime getpwnam getpwuid getgrnam rand srand gethostbyname "
    "getaddrinfo": "not safe with threads, or blocking without saying so",
    "malloc calloc realloc strdup strndup": "use mem_ of base, which never fails",
    "assert abort": "use PP_ASSERT",
    "setjmp longjmp usleep sleep": "neither jumps nor naps",
}
# Where a banned call is the point: (file, call).
ALLOWED = {
    ("src/base/mem.c", "malloc"), ("src/base/mem.c", "strdup"), ("src/base/mem.c", "calloc"), ("src/base/mem.c", "realloc"),
    ("src/base/assert.c", "abort"),
    # names in inet_interfaces and master.cf, looked up before there are threads
    ("src/net/listener.c", "getaddrinfo"),
    # `pennypost start` is a command: it puts the daemon in the background before there are threads
    ("src/daemon/main.c", "fork"), ("src/daemon/start.c", "fork"),
    # postsuper is a command: what it deleted is freed behind it, and its threads have ended
    ("src/command/postsuper_all.c", "fork"),
    # and whole queues are moved where a kill of it does not reach
    ("src/command/postsuper_lock.c", "fork"),
}
# Atomics and locks live where the thread model lives.
THREADS = re.compile(r"\b(?:pthread_(?:mutex|cond|rwlock|create|spin)\w*|uv_(?:mutex|cond|rwlock|sem)\w*|"
                     r"atomic_\w+|_Atomic|__atomic_\w+|__sync_\w+)\b")
HOMES = {
    "uv.h": {"runtime", "net", "control"}, "openssl/": {"net"}, "ares.h": {"net/resolver"},
    "sasl/": {"net/sasl"}, "idn2.h": {"net/idna"}, "pthread.h": {"runtime"}, "stdatomic.h": {"runtime"},
    "pcre2.h": {"map"}, "regex.h": {"map"},
}


def check(tree):
    banned = {call: why for calls, why in BANNED.items() for call in calls.split()}
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(banned) + r")\s*\(")
    bad = []
    for path in tree.c_files():
        folder = source.folder_of(path)
        for number, line in enumerate(tree.code(path), 1):
            for match in pattern.finditer(line):
                call = match.group(1)
                if (path, call) not in ALLOWED:
                    bad.append(f"{path}:{number}: {call}: {banned[call]}")
            match = THREADS.search(line)
            if match and folder != "runtime":
                bad.append(f"{path}:{number}: {match.group(0)} outside runtime")
        for number, line in enumerate(tree.lines(path), 1):
            match = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
            if match:
                bad += [f"{path}:{number}: <{match.group(1)}> belongs to {', '.join(sorted(homes))}"
                        for header, homes in HOMES.items()
                        if match.group(1).startswith(header) and not _at_home(path, folder, homes)]
    return bad


def _at_home(path, folder, homes):
    return folder in homes or any(path.startswith((f"src/{h}.", f"src/{h}_")) for h in homes)


def test_tree():
    source.expect_none(check(source.Tree()))


def test_bad_example(tmp_path):
    tree = source.example(tmp_path, {
        "src/base/a.c": '#include <uv.h>\n/* strcpy( */\nx = strcpy(a, "system(");\ny->system(1);\n'
                        "pthread_mutex_lock(&m);\n",
        "src/net/tls.c": "#include <sasl/sasl.h>\n#include <openssl/ssl.h>\n"})
    assert check(tree) == [
        "src/base/a.c:3: strcpy: use str_ and buf_ of base",
        "src/base/a.c:5: pthread_mutex_lock outside runtime",
        "src/base/a.c:1: <uv.h> belongs to control, net, runtime",
        "src/net/tls.c:1: <sasl/sasl.h> belongs to net/sasl"]
