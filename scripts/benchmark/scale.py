"""How it grows: workers and threads, connections, a million requests, memory, a second gateway. Each table is of wsgi-gateway alone."""

import os
import time
from contextlib import ExitStack
from pathlib import Path

import load
import servers
from peers import OURS, PEERS
from processes import Server, cpu_seconds, free_port, memory_bytes, until
from table import duration, lines, number
from works import APPS, BY_NAME

GATEWAY = next(peer for peer in PEERS if peer.name == OURS)

HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend site
    bind 127.0.0.1:{port}
    default_backend wsgi
backend wsgi
    use-fcgi-app wsgi
    balance leastconn
    http-reuse never
    default-server proto fcgi
{servers}
fcgi-app wsgi
    docroot /var/empty
    no option keep-conn
    pass-header Authorization
"""


class Site:
    """Our gateway with these options, started for one measurement, behind an nginx of its own."""

    def __init__(self, place, app, *options, name=OURS):
        self.stack, self.place, self.app, self.options, self.name = ExitStack(), place, app, options, name

    def __enter__(self):
        socket = self.place.socket(self.name)
        socket.unlink(missing_ok=True)
        command = [str(word) for word in GATEWAY.command(self.place, self.app, 1)]
        command[command.index("--bind") + 1] = f"unix:{socket}"
        command[command.index("--control") + 1] = str(self.place.folder / f"{self.name}.control")
        # The last of a repeated option wins.
        command[-1:-1] = [*self.options, "--name", self.name]
        self.gateway = self.stack.enter_context(Server(self.name, command, self.place.folder, self.place.environment()))
        until(socket.exists, "it listens", self.gateway)
        self.port = free_port()
        self.nginx = servers.nginx(self.place.folder, [(self.name, "fastcgi", socket, self.port)], APPS)
        self.stack.callback(self.nginx.stop)
        until(lambda: load.ask(self.port, "/")[0] == 200, "it answers", self.gateway)
        return self

    def __exit__(self, *_):
        self.stack.close()

    def loaded(self, connections, seconds):
        """(load, CPU of the back end, CPU of nginx), microseconds a request."""
        load.wrk(self.port, "/", connections, 1)
        before = cpu_seconds(self.gateway.pids()), cpu_seconds(self.nginx.pids())
        came = load.wrk(self.port, "/", connections, seconds)
        after = cpu_seconds(self.gateway.pids()), cpu_seconds(self.nginx.pids())
        return came, *((b - a) / came.requests * 1e6 for a, b in zip(before, after))


def pool(place, seconds):
    rows = [["workers x threads, 16 connections", "requests/s", "back end us", "nginx us", "p50", "p99", "memory"]]
    for work in ("hello", "page"):
        for workers, threads in ((1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (2, 2)):
            with Site(place, BY_NAME[work].app, "--workers", str(workers), "--threads", str(threads)) as site:
                came, back, front = site.loaded(16, seconds)
                memory = memory_bytes(site.gateway.pids())
            label = f"{BY_NAME[work].label.split(',')[0]}: {workers} x {threads}"
            rows.append([label, number(came.per_second), number(back), number(front), duration(came.p50), duration(came.p99), f"{memory / 1e6:.0f} MB"])
    return rows


def connections(place, seconds):
    rows = [["hello, connections", "requests/s", "back end us", "nginx us", "p50", "p99", "memory"]]
    for count in (1, 4, 16, 64, 256, 1000):
        with Site(place, "plain:hello") as site:
            came, back, front = site.loaded(count, seconds)
            memory = memory_bytes(site.gateway.pids())
        rows.append([f"{count}", number(came.per_second), number(back), number(front), duration(came.p50), duration(came.p99), f"{memory / 1e6:.1f} MB"])
    return rows


def million(place, seconds):
    """So many requests to one worker, with a row each time that another tenth is done."""
    rows = [["hello, requests so far", "requests/s", "back end us", "nginx us", "p99", "memory"]]
    total, wanted = 0, 1_000_000
    with Site(place, "plain:hello") as site:
        while total < wanted:
            part, back, front, time_taken, p99 = 0, 0.0, 0.0, 0.0, 0.0
            while part < wanted / 10:
                begun = time.monotonic()
                before = cpu_seconds(site.gateway.pids()), cpu_seconds(site.nginx.pids())
                came = load.wrk(site.port, "/", 16, 1)
                back += cpu_seconds(site.gateway.pids()) - before[0]
                front += cpu_seconds(site.nginx.pids()) - before[1]
                part += came.requests
                time_taken += time.monotonic() - begun
                p99 = max(p99, came.p99)
            total += part
            memory = memory_bytes(site.gateway.pids())
            rows.append([f"{total:,}", number(part / time_taken), number(back / part * 1e6), number(front / part * 1e6), duration(p99), f"{memory / 1e6:.1f} MB"])
    return rows


def memory(place, seconds):
    rows = [["memory of a Flask application", "all processes", "each worker more"]]
    for options in ([], ["--preload"]):
        first = None
        for workers in (1, 4, 16):
            with Site(place, "page:app", "--workers", str(workers), *options) as site:
                until(lambda: sum("worker" in title(pid) for pid in site.gateway.pids()) >= workers, "all workers", site.gateway)
                load.wrk(site.port, "/", 4 * workers, 2)
                whole = memory_bytes(site.gateway.pids())
            each = f"{(whole - first) / (workers - 1) / 1e6:.1f} MB" if first else ""
            first = first or whole
            rows.append([f"{workers} workers{' ' + options[0] if options else ''}", f"{whole / 1e6:.1f} MB", each])
    return rows


def title(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def two_gateways(place, seconds):
    rows = [["hello, 16 connections, behind HAProxy", "requests/s", "gateways us", "HAProxy us", "p50", "p99"]]
    for count in (1, 2):
        with ExitStack() as stack:
            sites = [stack.enter_context(Site(place, "plain:hello", name=f"gateway-{i + 1}")) for i in range(count)]
            port = free_port()
            text = HAPROXY.format(port=port, servers="\n".join(f"    server {site.name} unix@{place.socket(site.name)}" for site in sites))
            configuration = place.folder / "haproxy.cfg"
            configuration.write_text(text)
            proxy = stack.enter_context(Server("haproxy", ["haproxy", "-f", str(configuration), "-db"], place.folder, dict(os.environ)))
            until(lambda: load.ask(port, "/")[0] == 200, "it answers", proxy)
            load.wrk(port, "/", 16, 1)
            before = sum(cpu_seconds(site.gateway.pids()) for site in sites), cpu_seconds(proxy.pids())
            came = load.wrk(port, "/", 16, seconds)
            after = sum(cpu_seconds(site.gateway.pids()) for site in sites), cpu_seconds(proxy.pids())
            rows.append([f"{count} gateway{'s' if count > 1 else ''}", number(came.per_second), *(number((b - a) / came.requests * 1e6) for a, b in zip(before, after)), duration(came.p50), duration(came.p99)])
    return rows


def text(place, seconds):
    for table in (pool, connections, million, memory, two_gateways):
        yield from lines(table(place, seconds))
        yield ""
