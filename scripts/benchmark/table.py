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
