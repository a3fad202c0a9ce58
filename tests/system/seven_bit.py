"""seven_bit.py - 8-bit mail for a server that takes 7 bits: as the same bytes as from Postfix."""

import pp_harness
import pp_peers

PLAIN = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
EIGHT = PLAIN + "Content-Transfer-Encoding: 8bit\n"
MIXED = ("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b b\"\n"
         "Content-Transfer-Encoding: 8bit\n")
PART = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
SHAPES = {
    "plain": EIGHT + "\ncaf\xe9 = 1\n",
    "long lines": EIGHT + "\n" + "x" * 300 + "\n" + "\xe9" * 300 + "\n" + "a=" * 100 + "\n",
    "lengths about the break": EIGHT + "\n" + "".join(
        "x" * n + end + "\n" for n in range(68, 80) for end in ("", "\xe9", "=", " ", "\t", " \t ")),
    "blanks at ends": EIGHT + "\na \nb\t\nc  \n \n\t\n\n",
    "dots and From": EIGHT + "\n.\n..\n.x\nFrom me\nFrom\n",
    "controls": EIGHT + "\n\x01\x7f\x08 tab\there\n",
    "no end of header": EIGHT,
    "empty body": EIGHT + "\n",
    "encoding first": "Content-Transfer-Encoding: 8bit\nMIME-Version: 1.0\nSubject: x\n\n\xe9\n",
    "binary": PLAIN + "Content-Transfer-Encoding: binary\n\n\xe9\n",
    "upper case": PLAIN + "CONTENT-TRANSFER-ENCODING:    8BIT\n\n\xe9\n",
    "comment": PLAIN + "Content-Transfer-Encoding: (eight) 8bit (bits)\n\n\xe9\n",
    "folded": PLAIN + "Content-Transfer-Encoding:\n 8bit\n\n\xe9\n",
    "twice": PLAIN + "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: 8bit\n\n\xe9\n",
    "twice, 7bit last": PLAIN + "Content-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: 7bit\n"
    "\n\xe9\n",
    "not said": PLAIN + "\n\xe9\n",
    "said 7bit": PLAIN + "Content-Transfer-Encoding: 7bit\n\n\xe9\n",
    "said base64": PLAIN + "Content-Transfer-Encoding: base64\n\n\xe9\n",
    "said quoted-printable": PLAIN + "Content-Transfer-Encoding: quoted-printable\n\n=E9 \xe9\n",
    "said x-odd": PLAIN + "Content-Transfer-Encoding: x-odd\n\n\xe9\n",
    "no MIME at all": "Subject: x\n\n\xe9\n",
    "8-bit header": EIGHT + "X-Odd: \xe9\n\n\xe9\n",
    "multipart": MIXED + "\npre\xe9\n--b b\n" + PART + "\n\xe9\n--b b\n\n\xe9 raw\n--b b--\npost\xe9\n",
    "multipart, part of 7bit": MIXED + "\n--b b\nContent-Transfer-Encoding: 7bit\n\n\xe9\n--b b--\n",
    "multipart without encoding": "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n"
    "--x\n" + PART + "\n\xe9 \n--x--\n",
    "nested multipart": MIXED + "\n--b b\nContent-Type: multipart/alternative; boundary=in\n"
    "Content-Transfer-Encoding: 8bit\n\npre\xe9\n--in\n" + PART + "\n\xe9\n--in--\npost\xe9\n--b b\n" +
    PART + "\n\xe9\n--b b--\n",
    "left open": MIXED + "\n--b b\nContent-Type: multipart/alternative; boundary=in\n\n--in\n" + PART +
    "\n\xe9\n--b b\n" + PART + "\n\xe9\n",
    "boundary within a boundary": MIXED.replace('"b b"', "b") + "\n--b\nContent-Type: multipart/mixed; "
    "boundary=b2\n\n--b2\n" + PART + "\n\xe9\n--b2--\n--b\n" + PART + "\n\xe9\n--b--\n",
    "delimiter and more": MIXED + "\n--b b   \n" + PART + "\n\xe9\n--b bxyz\n" + PART + "\n\xe9\n--b b-- \n",
    "message": MIXED + "\n--b b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\n"
    "Subject: inside\n" + EIGHT + "\n\xe9\n--b b--\n",
    "message alone": "MIME-Version: 1.0\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit"
    "\n\nSubject: inside\n" + EIGHT + "\n\xe9\n",
    "message in 7bit": MIXED + "\n--b b\nContent-Type: message/rfc822\n\nSubject: inside\n" + EIGHT +
    "\n\xe9\n--b b--\n",
    "message that is multipart": MIXED + "\n--b b\nContent-Type: message/rfc822\n\n" + MIXED.replace(
        "b b", "in") + "\n--in\n" + PART + "\n\xe9\n--in--\n--b b--\n",
    "message/partial": "MIME-Version: 1.0\nContent-Type: message/partial; id=x; number=1; total=1\n"
    "Content-Transfer-Encoding: 8bit\n\n\xe9\n",
    "message/external-body": "MIME-Version: 1.0\nContent-Type: message/external-body; access-type=x\n"
    "Content-Transfer-Encoding: 8bit\n\nContent-Type: text/plain\n\n\xe9\n",
    "message/delivery-status": "MIME-Version: 1.0\nContent-Type: message/delivery-status\n"
    "Content-Transfer-Encoding: 8bit\n\nReporting-MTA: \xe9\n\nAction: \xe9\n",
    "digest": MIXED.replace("mixed", "digest") + "\n--b b\n\nSubject: inside\n" + EIGHT +
    "\n\xe9\n--b b--\n",
    "digest of another type": MIXED.replace("mixed", "digest") + "\n--b b\n" + PART + "\n\xe9\n--b b--\n",
    "no boundary": MIXED.replace('; boundary="b b"', "") + "\n--b b\n" + PART + "\n\xe9\n",
    "empty boundary": MIXED.replace('"b b"', '""') + "\n--b b\n" + PART + "\n\xe9\n",
    "odd type": EIGHT.replace("text/plain", "text / plain ") + "\n\xe9\n",
    "type in comments": MIXED.replace("multipart/mixed;", "(a)multipart (b)/ (c) mixed (;) ; (d)") +
    "\n--b b\n" + PART + "\n\xe9\n--b b--\n",
    "boundary behind others": MIXED.replace("boundary", "x=\"a;b\"; y=z; boundary") + "\n--b b\n" + PART +
    "\n\xe9\n--b b--\n",
    "boundary quoted oddly": MIXED.replace('"b b"', '"b\\ b"') + "\n--b b\n" + PART + "\n\xe9\n--b b--\n",
    "no empty line behind part headers": MIXED + "\n--b b\n" + PART + "--b b\n" + PART + "\n\xe9\n--b b--\n",
    "part without headers or line": MIXED + "\n--b b\n--b b\n\n\xe9\n--b b--\n",
    "text where headers are": MIXED + "\n--b b\nnot a header \xe9\n--b b--\n",
    "long header": EIGHT + "X-Long: " + "y" * 900 + "\n " + "z" * 900 + "\n\n\xe9\n",
}


def arrived(scratch, kind, *extensions, **main):
    sink = pp_peers.Sink(scratch, extensions=("PIPELINING", "SIZE 0", *extensions))
    system = kind(scratch, **main).relay_to(sink).start()
    client = system.client()
    client.ehlo()
    for number, text in enumerate(SHAPES.values()):
        assert client.mail("a@client.test", ["BODY=8BITMIME"])[0] == 250
        assert client.rcpt(f"user{number}@dest.test")[0] == 250
        data = f"From: a@client.test\nMessage-Id: <{number}@client.test>\nDate: x\n{text}"
        code, answer = client.data(data.replace("\n", "\r\n").encode("latin-1"))
        assert code == 250, answer
    mails = {}
    for mail in sink.wait(len(SHAPES)):
        number = int(mail.recipients[0][4:].partition("@")[0])
        text = mail.data[mail.data.index(b"From: "):]
        mails[list(SHAPES)[number]] = text
    assert ("BDAT" in [verb for _, verb, _ in sink.commands]) == ("CHUNKING" in extensions)
    return mails


def test_in_chunks(scratch):
    """The same bytes by BDAT as by DATA, whatever is done to them on the way."""
    main = {"smtp_header_checks": f"regexp:{scratch.file('checks', '/^Subject/ PREPEND X-Seen: yes')}",
            "smtp_generic_maps": "inline:{{ a@client.test = public@client.test }}",
            "smtp_line_length_limit": "200"}
    SHAPES["large"] = PLAIN + "\n" + (".\n..\n" + "\xe9" * 500 + "\n") * 200
    want = arrived(scratch, pp_harness.Pennypost, **main)
    assert arrived(scratch, pp_harness.Pennypost, "CHUNKING", name="chunks", **main) == want
    del SHAPES["large"]
    assert len(want["large"]) > 70000  # more than one chunk


def test_as_postfix_converts(scratch):
    want = arrived(scratch, pp_harness.Postfix)
    got = arrived(scratch, pp_harness.Pennypost)
    bad = [f"{name}:\n wanted {want[name]}\n got    {got[name]}"
           for name in SHAPES if want[name] != got[name]]
    assert not bad, "\n".join(bad)
