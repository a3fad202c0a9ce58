"""pp_shapes.py - a hundred mails: the contents of the corpus, and shapes that break bad senders."""

import os

from pp_scratch import BUILD, TOP, run


def _lines(count, text):
    return "".join(f"{text} {n}\n" for n in range(count))


def contents():
    """{name: bytes with LF}; each with a mark of its own in its Subject, which is its name."""
    made = {
        "dots": ".\n..\n...\n.x\n \n.\n", "empty": "", "blank": "\n\n\n", "eight": "\xe9\xff\n" * 9,
        "utf8": "gr\u00fc\u00df dich \u2603\n", "from": "From me\n>From you\nFrom \n",
        "long": "x" * 990 + "\n", "many": _lines(3000, "line"), "tabs": "\t\t\n \t\n", "cr": "a \n",
        "big": _lines(20000, "0123456789" * 8), "trail": "end with blanks   \n   \n",
        "control": "\x01\x02\x1b[31m\x7f\n", "onedot": ".\n", "lastdot": "text\n.\n",
        "mime": "--b\nContent-Type: text/plain\n\npart\n--b--\n", "percent": "%s %n %d\n",
        "wide": ("x" * 900 + "\n") * 50,
    }
    mails = {name: body.encode("utf-8" if name == "utf8" else "latin-1")
             for name, body in made.items()}
    folder = os.path.join(TOP, "tests", "corpus", "cases")
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name, "qfile")
        if not os.path.isfile(path):
            continue
        text = run([os.path.join(BUILD, "postcat"), "-b", path]).stdout
        body = text.encode("utf-8", "surrogateescape")
        if body and b"\r" not in body and b"\0" not in body and all(
                len(line) < 990 for line in body.split(b"\n")):
            mails[name] = body if body.endswith(b"\n") else body + b"\n"
    return {name: f"From: <shape@client.test>\nTo: <you@box.test>\nSubject: shape {name}\n"
            f"Message-ID: <{name}@client.test>\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n"
            "MIME-Version: 1.0\nContent-Type: text/plain\n\n".encode() + body
            for name, body in mails.items()}


def send_all(client, recipient, mails):
    for name, text in mails.items():
        assert client.mail("shape@client.test", ["BODY=8BITMIME"])[0] == 250
        assert client.rcpt(recipient)[0] == 250
        code, answer = client.data(text.replace(b"\n", b"\r\n"))
        assert code == 250, (name, answer)


def check(mails, arrived):
    """Each came once, with nothing changed but what was put before it."""
    left = dict(mails)
    for whole in arrived:
        text = whole.replace(b"\r\n", b"\n")
        hits = [name for name, sent in left.items() if text.endswith(sent)]
        assert len(hits) == 1, (hits, text[:2000])
        before = text[:len(text) - len(left.pop(hits[0]))]
        assert before.startswith((b"Return-Path:", b"Received:", b"Delivered-To:", b"X-")), before
    assert not left, sorted(left)
