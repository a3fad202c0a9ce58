"""plot.py - results.svg: how many times better than Postfix, a bar for each of a few figures.

Drawn on a logarithmic scale, because both two times and fifty times are to be seen; the colours are
legible on white and on black.
"""

import math

WIDTH, LEFT, RIGHT, ROW, TOP = 720, 330, 70, 24, 46
# (section begins with, row begins with, what it is called)
BARS = (
    ("relayed mails", "4 KiB, 20 sessions, one each", "relay, 4 KiB, a connection each"),
    ("relayed mails", "4 KiB, 20 sessions, kept", "relay, 4 KiB, kept connections"),
    ("relayed mails", "100 KiB, 20 sessions, kept", "relay, 100 KiB, kept connections"),
    ("CPU seconds per 1,000 mails relayed", "4 KiB, 20 sessions, one each", "CPU per mail, 4 KiB"),
    ("accepted mails", "4 KiB, 20 sessions, one each", "accept, 4 KiB, a connection each"),
    ("accepted mails", "4 KiB, 20 sessions, kept", "accept, 4 KiB, kept connections"),
    ("relayed a second through", "against Postfix", "relay through STARTTLS and SASL"),
    ("one mail on", "end of data to 250", "one mail: end of data to 250"),
    ("one mail on", "250 to the sink", "one mail: 250 to the receiver"),
    ("one mail to", "100 domains", "one mail to 1,000 recipients"),
    ("sendmail", "commands", "sendmail, 500 times"),
    ("private memory", "after 1,000", "memory after 1,000 mails"),
    ("private memory", "with 500", "memory, 500 idle connections"),
    ("start with 100,000", "first 220", "start with 100,000 deferred"),
)


def bars(sections):
    """(label, times better) of what was measured."""
    found = []
    for title, name, label in BARS:
        for section in sections:
            for row, values in section.rows.items():
                if section.title.startswith(title) and row.startswith(name):
                    _, ratio = section.figures(values)
                    if ratio:
                        found.append((label, ratio if values["more"] else 1 / ratio))
                    break
            else:
                continue
            break
    return found


def draw(sections):
    """The picture, or nothing when nothing was compared."""
    rows = bars(sections)
    if not rows:
        return ""
    top = max(10, max(times for _, times in rows))
    scale = (WIDTH - LEFT - RIGHT) / math.log10(top)
    height = TOP + ROW * len(rows) + 12
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
           f'height="{height}" font-family="sans-serif" font-size="13" fill="#808080">',
           '<title>How many times better than Postfix</title>',
           f'<text x="{LEFT}" y="16" font-weight="bold">times better than Postfix</text>']
    for mark in (1, 2, 5, 10, 20, 50, 100, 200):
        if mark <= top:
            x = LEFT + scale * math.log10(mark)
            out.append(f'<line x1="{x:.0f}" y1="{TOP - 6}" x2="{x:.0f}" y2="{height - 8}" '
                       'stroke="#808080" stroke-opacity="0.35"/>')
            out.append(f'<text x="{x:.0f}" y="{TOP - 10}" text-anchor="middle" '
                       f'font-size="11">{mark}</text>')
    for number, (label, times) in enumerate(rows):
        y = TOP + ROW * number
        width = max(scale * math.log10(max(times, 1)), 1)
        text = f"{times:.1f}" if times < 20 else f"{times:.0f}"
        out.append(f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{label}</text>')
        out.append(f'<rect x="{LEFT}" y="{y + 3}" width="{width:.0f}" height="{ROW - 8}" rx="2" '
                   'fill="#2f7ed8"/>')
        out.append(f'<text x="{LEFT + width + 6:.0f}" y="{y + 15}">{text}</text>')
    return "\n".join(out + ["</svg>", ""])
