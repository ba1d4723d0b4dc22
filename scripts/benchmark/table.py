"""The results as text: one table for each work."""

import statistics

import programs
from peers import OURS, PEERS
from results import COST, cost, failure, median, spread
from works import BY_NAME, WORKS

LABELS = {peer.name: peer.label for peer in PEERS}
ON_APACHE = {
    "mod_proxy_fcgi": "wsgi-gateway, mod_proxy_fcgi",
    "mod_wsgi": "mod_wsgi, daemon mode",
    "mod_fcgid": "wsgi-gateway, mod_fcgid (4 processes)",
}


def number(value):
    """Three significant digits, more where the number has them before its point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def duration(microseconds):
    return f"{microseconds / 1000:,.1f} ms" if microseconds >= 1000 else f"{microseconds:.0f} us"


def lines(rows):
    """Columns that are as wide as they must be: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows if len(row) > i and len(row) > 2) for i in range(max(len(row) for row in rows))]
    for row in rows:
        if len(row) == 2:
            yield f"{row[0]:{widths[0]}}  {row[1]}"
        else:
            yield "  ".join([f"{row[0]:{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:]))]).rstrip()


def cheapest_first(servers):
    return sorted(servers.items(), key=lambda item: (failure(item[1]) is not None, 0 if failure(item[1]) else cost(item[1])))


def of_work(results, work):
    """A table of a work behind nginx."""
    servers = results.nginx.get(work.name)
    if not servers:
        return
    ours = servers.get(OURS)
    base = cost(ours) if ours and not failure(ours) else None
    head = ["", "requests/s", "CPU us", "from-to", "back end", "nginx", "x ours", "p50", "p99", "memory"]
    rows = [head]
    ordered = cheapest_first(servers) if work.costs else sorted(servers.items(), key=lambda item: (failure(item[1]) is not None, 0 if failure(item[1]) else median(item[1], "p99")))
    for name, samples in ordered:
        reason = failure(samples)
        if reason:
            rows.append([LABELS[name], f"fails: {reason}"])
            continue
        least, most = spread(samples, *COST)
        rows.append([
            LABELS[name], number(median(samples, "per_second")), number(cost(samples)), f"{number(least)}-{number(most)}",
            number(median(samples, "back_end")), number(median(samples, "front")), f"{cost(samples) / base:.2f}" if base else "-",
            duration(median(samples, "p50")), duration(median(samples, "p99")), f"{median(samples, 'memory') / 1e6:.0f} MB",
        ])  # fmt: skip
    rate = f" ({results.rate} a second: 70 % of what the slowest can)" if work.name == "rate" and results.rate else ""
    yield f"{work.label}, behind nginx{rate}"
    yield from lines(rows)
    yield ""


def on_apache(results, work):
    servers = results.apache.get(work)
    if not servers:
        return
    rows = [["", "requests/s", "CPU us, all", "from-to", "p50", "p99", "memory"]]
    for name, samples in cheapest_first(servers):
        reason = failure(samples)
        if reason:
            rows.append([ON_APACHE[name], f"fails: {reason}"])
            continue
        least, most = spread(samples, *COST)
        rows.append([
            ON_APACHE[name], number(median(samples, "per_second")), number(cost(samples)), f"{number(least)}-{number(most)}",
            duration(median(samples, "p50")), duration(median(samples, "p99")), f"{median(samples, 'memory') / 1e6:.0f} MB",
        ])  # fmt: skip
    yield f"{BY_NAME[work].label}, on Apache"
    yield from lines(rows)
    yield ""


def of_cgi(results):
    if not results.cgi:
        return
    rows = [["CGI, milliseconds a request", *(BY_NAME[work].label.split(",")[0] for work in results.cgi), ""]]
    for way, label in programs.WAYS.items():
        rows.append([label, *(f"{statistics.median(ways[way]):,.1f}" for ways in results.cgi.values()), ""])
    yield from lines(rows)
    yield ""


def text(results):
    yield f"{results.date}, {results.machine}; {results.rounds} rounds of {results.seconds} s, interleaved: medians. One worker, one thread where nothing else is said."
    yield "; ".join(f"{name} {version}" for name, version in results.versions.items())
    yield ""
    for work in WORKS:
        yield from of_work(results, work)
    for work in results.apache:
        yield from on_apache(results, work)
    yield from of_cgi(results)


MARKDOWN = {"hello": "hello", "page": "Flask page", "django": "Django view", "file": "file, 10 MB", "post": "POST, 1 MB", "generator": "generator"}


def markdown(results):
    """README's two tables: processor time a request behind nginx with the ratio to ours, and Apache and CGI."""
    works = [work for work in MARKDOWN if work in results.nginx]
    yield f"| CPU us a request, nginx and back end | {' | '.join(MARKDOWN[work] for work in works)} | memory, Django |"
    yield "|---|" + "---|" * (len(works) + 1)
    base = {work: cost(results.nginx[work][OURS]) for work in works}
    for peer in PEERS:
        cells = []
        for work in works:
            samples = results.nginx[work].get(peer.name)
            if not samples:
                cells.append("")
            elif failure(samples):
                cells.append("fails")
            elif peer.name == OURS:
                cells.append(f"**{number(base[work])}**")
            else:
                cells.append(f"{number(cost(samples))} ({cost(samples) / base[work]:.2f})")
        django = results.nginx.get("django", {}).get(peer.name)
        cells.append(f"{median(django, 'memory') / 1e6:.0f} MB" if django and not failure(django) else "")
        yield f"| {peer.label} | {' | '.join(cells)} |"
    yield ""
    works = [work for work in results.apache if work in results.cgi]
    yield f"| | {' | '.join(MARKDOWN[work] for work in works)} |"
    yield "|---|" + "---|" * len(works)
    for way, label in ON_APACHE.items():
        cells = (number(cost(results.apache[work][way])) if not failure(results.apache[work][way]) else "fails" for work in works)
        yield f"| Apache, CPU us, everything: {label} | {' | '.join(cells)} |"
    for way, label in programs.WAYS.items():
        yield f"| CGI, ms a request: {label} | {' | '.join(f'{statistics.median(results.cgi[work][way]):,.1f}' for work in works)} |"
