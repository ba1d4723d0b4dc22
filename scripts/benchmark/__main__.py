"""Measures wsgi-gateway against its peers; scripts/bench installs what is needed and starts this."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import chart
import measure
import programs
import scale
import servers
import table
from peers import OURS, PEERS, Place, said
from processes import Failure, free_port
from results import Results, failure, median
from works import APPS, BY_NAME, FILE_BYTES, ON_APACHE, QUICK, WORKS


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures wsgi-gateway against its peers, behind one nginx and on Apache.")
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer works, one round of a second")
    parser.add_argument("--scale", action="store_true", help="instead: workers, connections, memory, two gateways behind HAProxy")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds, each with all servers (default 4)")
    parser.add_argument("--seconds", type=int, metavar="S", help="of load in each measurement, after one of warming up (default 2)")
    parser.add_argument("--works", metavar="NAMES", help=f"only these, with commas: {','.join(BY_NAME)},cgi,apache")
    parser.add_argument("--peers", metavar="NAMES", help=f"only these, with commas: {','.join(peer.name for peer in PEERS)}")
    parser.add_argument("--json", metavar="FILE", help="writes all samples there")
    parser.add_argument("--svg", metavar="FILE", help="draws the chart there")
    parser.add_argument("--markdown", action="store_true", help="prints the tables as README has them")
    parser.add_argument("--from", dest="read", metavar="FILE", help="measures nothing: shows what an earlier --json wrote")
    parser.add_argument("--gateway", default="target/release/wsgi-gateway", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for what, names, known in (
        ("work", options.works, [*BY_NAME, "apache", "cgi"]),
        ("server", options.peers, [peer.name for peer in PEERS]),
    ):
        for name in names.split(",") if names else []:
            if name not in known:
                parser.error(f"'{name}' is no {what}; there are {', '.join(known)}")
    return options


def place(gateway, folder):
    """The machine's side: folders, the file and the database that works are about."""
    (folder / "run").mkdir(mode=0o700)
    (folder / "file").write_bytes(os.urandom(FILE_BYTES))
    where = Place(os.path.abspath(gateway), Path(sys.prefix), APPS, folder)
    subprocess.run([sys.executable, "-m", "shop.fill"], env=where.environment(), check=True)
    # For Apache's workers, who are another user.
    for path in (folder, folder / "shop.sqlite3", folder / "file"):
        path.chmod(0o777)
    return where


def progress(words):
    print(f"\r\033[K{words}" if sys.stderr.isatty() else words, end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def rounds(options, results, where, works, peers):
    """Every server once in every round, and never first in all of them."""
    ports = {peer.name: free_port() for peer in PEERS}
    apache_port = free_port()
    ours = next(peer for peer in PEERS if peer.name == OURS)
    nginx = servers.nginx(where.folder, [(peer.name, peer.protocol, where.socket(peer.name), ports[peer.name]) for peer in PEERS], APPS)
    try:
        for turn in range(results.rounds):
            for work in (work for work in WORKS if work.name in works):
                shift = turn % len(peers)
                for peer in peers[shift:] + peers[:shift]:
                    if peer.yardstick and work.name != "hello":
                        continue
                    progress(f"round {turn + 1} of {results.rounds}: {work.label}: {peer.label}")
                    if work.name == "rate" and results.rate is None:
                        results.rate = seventy_percent(results)
                    one = lambda: measure.behind_nginx(peer, work, where, nginx, ports[peer.name], results.seconds, results.rate)
                    results.add("nginx", work.name, peer.name, or_failure(one))
            if "apache" in works:
                for name in ON_APACHE:
                    for way in servers.APACHE_LINES:
                        progress(f"round {turn + 1} of {results.rounds}: {BY_NAME[name].label}: Apache, {way}")
                        one = lambda: measure.on_apache(way, BY_NAME[name], where, ours, apache_port, results.seconds)
                        results.add("apache", name, way, or_failure(one))
            if "cgi" in works:
                for name in programs.WORKS:
                    for way in programs.WAYS:
                        progress(f"round {turn + 1} of {results.rounds}: {BY_NAME[name].label}: CGI, {way}")
                        results.add("cgi", name, way, programs.milliseconds(way, name, where, 5 if options.quick else 15))
                programs.stop(where)
    finally:
        nginx.stop()
        programs.stop(where)
        progress("")


def or_failure(one):
    try:
        return one()
    except Failure as failed:
        return str(failed)


def seventy_percent(results):
    able = [median(samples, "per_second") for samples in results.nginx.get("page", {}).values() if not failure(samples)]
    return max(1, int(min(able) * 0.7)) if able else 100


def versions(where, peers):
    shown = {peer.label.split(",")[0]: peer.version(where) for peer in peers}
    shown["nginx"] = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.split("/")[-1].split()[0]
    shown["Apache"] = said("apache2", "-v").split("/")[1].split()[0]
    shown["Python"] = sys.version.split()[0]
    for package in ("flask", "django"):
        shown[package.capitalize()] = __import__("importlib.metadata").metadata.version(package)
    return shown


def main():
    options = arguments()
    # Whoever ends this ends what it has started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.read:
        results = Results.read(options.read)
    else:
        works = options.works.split(",") if options.works else [*QUICK, "cgi"] if options.quick else [*BY_NAME, "apache", "cgi"]
        peers = [peer for peer in PEERS if not options.peers or peer.name in options.peers.split(",")]
        command = "scripts/bench" + (" --quick" if options.quick else "") + (f" --rounds {options.rounds}" if options.rounds else "")
        with tempfile.TemporaryDirectory(prefix="wsgi-gateway-bench.") as folder:
            where = place(options.gateway, Path(folder))
            if options.scale:
                for line in scale.text(where, options.seconds or 3):
                    print(line, flush=True)
                return
            results = Results.begun(command, options.rounds or (1 if options.quick else 4), options.seconds or (1 if options.quick else 2), versions(where, peers))
            try:
                rounds(options, results, where, works, peers)
            finally:
                if options.json:
                    results.write(options.json)
    print("\n".join(table.markdown(results) if options.markdown else table.text(results)))
    if options.svg:
        Path(options.svg).write_text(chart.svg(results))


if __name__ == "__main__":
    main()
