"""count.py - the numbers "passed failed" of a result file of meson or pytest.

A suite whose file is missing or holds no test has failed once: nothing ran.
"""

import json
import sys
import xml.etree.ElementTree as ET


def meson(path):
    good = bad = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            result = json.loads(line)["result"]
            if result in ("OK", "EXPECTEDFAIL"):
                good += 1
            elif result != "SKIP":
                bad += 1
    return good, bad


def junit(path):
    good = bad = 0
    for case in ET.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            bad += 1
        elif case.find("skipped") is None:
            good += 1
    return good, bad


def main():
    kind, path = sys.argv[1:]
    try:
        good, bad = {"meson": meson, "junit": junit}[kind](path)
    except (OSError, ET.ParseError, ValueError, KeyError):
        good, bad = 0, 1
    print(good, bad if good + bad else 1)


main()
