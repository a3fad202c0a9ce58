"""pp_rewrite.py - Postfix's trivial-rewrite asked directly: the oracle for routes.

One Postfix has a row of master.cf per configuration, each a resolver with its own `-o`.
"""

import os
import socket

import pp_harness


class Oracle:
    """configs: {name: {parameter: value}}, on top of `main`."""

    def __init__(self, scratch, configs, **main):
        self.postfix = pp_harness.Postfix(scratch, name="oracle", **main)
        rows = [self.postfix.master]
        for name, values in configs.items():
            rows.append(f"{name} unix - - n - - trivial-rewrite\n")
            rows += [f"  -o {{ {key} = {value} }}\n" for key, value in values.items()]
        self.postfix.master = "".join(rows)
        self.postfix.write_config()
        self.postfix.start()

    def ask(self, config, sender, recipient):
        """(transport, nexthop) or ("retry", "") where a table cannot be used."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(pp_harness.TIMEOUT)
            sock.connect(os.path.join(self.postfix.queue, "private", config))
            with sock.makefile("rwb") as file:
                _read(file)  # the protocol's name
                _write(file, request="resolve", sender=sender, address=recipient)
                said = _read(file)
        flags = int(said["flags"])
        if flags & 8:
            return "retry", ""
        if flags & 4:
            return "error", "5.1.3 bad address syntax"
        return said["transport"], said["nexthop"]


def _write(file, **words):
    file.write(b"".join(f"{name}\0{value}\0".encode() for name, value in words.items()) + b"\0")
    file.flush()


def _word(file):
    word = b""
    while (byte := file.read(1)) != b"\0":
        assert byte, "trivial-rewrite closed the connection"
        word += byte
    return word.decode()


def _read(file):
    words = {}
    while name := _word(file):
        words[name] = _word(file)
    return words
