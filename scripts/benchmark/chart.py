"""The results as a picture: a panel for each work, a bar for each server, as long as its cost is against the cheapest peer's."""

import statistics
from html import escape

import programs
from peers import OURS, PEERS
from results import cost, failure
from table import LABELS, number
from works import BY_NAME

WORKS = ["hello", "page", "django", "file", "post", "generator"]
WIDTH, COLUMNS, GAP = 880, 2, 28
PANEL = (WIDTH - GAP) // COLUMNS
NAME, FIGURES, ROW, TITLE = 132, 128, 19, 30
# Bars of more than so many times the cheapest peer's cost are cut.
LONGEST = 4.0

STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 13px } .faint { fill: #59636e } .ours { font-weight: 600 }
  .bar { fill: #afb8c1 } .bar.ours { fill: #1a7f37 } .line { stroke: #59636e; stroke-dasharray: 3 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .faint { fill: #9198a1 } .bar { fill: #484f58 } .bar.ours { fill: #3fb950 } .line { stroke: #9198a1 }
  }
"""


def bars(results, work):
    """(label, ratio to the cheapest peer, what stands behind the bar, whether it is ours), the cheapest first; failures last."""
    servers = {peer.name: results.nginx[work][peer.name] for peer in PEERS if peer.name in results.nginx[work] and not peer.yardstick}
    able = {name: cost(samples) for name, samples in servers.items() if not failure(samples)}
    others = [value for name, value in able.items() if name != OURS]
    if not others or OURS not in able:
        return []
    best = min(others)
    shown = [(LABELS[name], value / best, f"{value / best:.2f}   {number(value)} us", name == OURS) for name, value in sorted(able.items(), key=lambda item: item[1])]
    return shown + [(LABELS[name], 0, "fails", name == OURS) for name in servers if name not in able]


def cgi_bars(results, work):
    """The same for plain CGI, where the ratio is to Python's own CGIHandler."""
    times = {way: statistics.median(samples) for way, samples in results.cgi[work].items()}
    base = times["CGIHandler"]
    return [
        (programs.WAYS[way], time / base * LONGEST, f"{time:.1f} ms" + ("" if way == "CGIHandler" else f"   1/{base / time:.0f}" if base > 2 * time else f"   {time / base:.2f}"), way != "CGIHandler")
        for way, time in sorted(times.items(), key=lambda item: item[1])
    ]


def panel(title, rows, x, y, name_width=NAME, reference=True):
    yield f'<text class="title" x="{x}" y="{y + 14}">{escape(title)}</text>'
    top, longest = y + TITLE - 8, PANEL - name_width - FIGURES
    for index, (label, ratio, words, ours) in enumerate(rows):
        middle = top + index * ROW + ROW / 2
        kind = ' class="ours"' if ours else ""
        length = min(ratio, LONGEST) / LONGEST * longest
        yield f'<text{kind} x="{x}" y="{middle + 4}">{escape(label)}</text>'
        yield f'<rect class="bar{" ours" if ours else ""}" x="{x + name_width}" y="{middle - 6}" width="{max(length, 0.5):.1f}" height="12" rx="2"/>'
        yield f'<text{kind} x="{x + name_width + length + 6:.1f}" y="{middle + 4}">{escape(words)}</text>'
    if reference:
        line = x + name_width + longest / LONGEST
        yield f'<line class="line" x1="{line}" x2="{line}" y1="{top}" y2="{top + len(rows) * ROW}"/>'


def svg(results):
    panels = [(BY_NAME[work].label, found, NAME, True) for work in WORKS if work in results.nginx and (found := bars(results, work))]
    panels += [(f"Plain CGI: {BY_NAME[work].label}", cgi_bars(results, work), 178, False) for work in ("page", "django") if work in results.cgi]
    parts, y = [], 58
    for start in range(0, len(panels), COLUMNS):
        row = panels[start : start + COLUMNS]
        for column, (title, rows, width, reference) in enumerate(row):
            parts += panel(title, rows, column * (PANEL + GAP), y, width, reference)
        y += TITLE + max(len(rows) for _, rows, _, _ in row) * ROW + 12
    head = [
        '<text class="title" x="0" y="16">Processor time a request, web server and back end together, against the cheapest peer (dashed line: 1.00)</text>',
        f'<text class="faint" x="0" y="35">One worker behind nginx; shorter is better. {escape(results.machine)}; medians of {results.rounds} rounds, {results.date}, {escape(results.command)}</text>',
    ]
    body = "\n".join(head + parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img"><title>wsgi-gateway and its peers</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n'
