"""One measurement: a peer is started alone, looked at, warmed up, loaded and stopped."""

from dataclasses import dataclass, replace
from pathlib import Path

import load
import servers
from processes import Failure, Server, cpu_seconds, memory_bytes, until


@dataclass
class Sample:
    """What one measurement gave: times in microseconds, processor time a request, memory in bytes."""

    per_second: float
    back_end: float
    front: float
    p50: float
    p99: float
    memory: int

    @classmethod
    def of(cls, came, back_end, front, memory):
        return cls(came.per_second, back_end / came.requests * 1e6, front / came.requests * 1e6, came.p50, came.p99, memory)


def loaded(work, port, seconds, folder, rate, back_end, front):
    """Warms up, then loads. `back_end` and `front` give the processes at the time."""
    work.check(port)
    load.wrk(port, work.path, work.connections, 1, work.script(folder))
    before = cpu_seconds(back_end()), cpu_seconds(front())
    came = work.run(port, seconds, folder, rate)
    after = cpu_seconds(back_end()), cpu_seconds(front())
    return Sample.of(came, after[0] - before[0], after[1] - before[1], memory_bytes(back_end()))


def behind_nginx(peer, work, place, nginx, port, seconds, rate=None):
    """`nginx` stays; the peer comes and goes."""
    socket = place.socket(peer.name)
    socket.unlink(missing_ok=True)
    command = [str(word) for word in peer.command(place, work.app, work.threads)]
    with Server(peer.name, command, place.folder, place.environment()) as server:
        until(socket.exists, "it listens", server)
        until(lambda: answered(work, port), "it answers", server)
        return loaded(work, port, seconds, place.folder, rate, server.pids, nginx.pids)


def answered(work, port):
    """502 is what nginx says while nobody listens yet; whatever else is looked at by the work's own check."""
    try:
        work.check(port)
    except Failure as failure:
        return "answers 502" not in str(failure)
    return True


def on_apache(way, work, place, ours, port, seconds):
    """Apache and what is behind it count together, as the back end: where mod_wsgi has Python run is Apache's own process."""
    if way == "mod_fcgid":
        # It makes as many processes as there are requests at a time, and where it may make no more they wait for a second.
        work = replace(work, connections=4)
    socket = place.socket("apache")
    socket.unlink(missing_ok=True)
    module, _, attribute = work.app.partition(":")
    script = Path(place.folder) / "app.fcgi"
    options = ["--venv", str(place.venv), "--pythonpath", str(place.apps), "--log-level", "warn"]
    script.write_text(f"#!/usr/bin/env -S {place.gateway} {' '.join(options)}\nfrom {module} import {attribute} as application\n")
    script.chmod(0o755)
    environment = place.environment()
    passed = "\n".join(f'FcgidInitialEnv {name} "{environment[name]}"' for name in environment if name.startswith(("BENCH", "DJANGO")))
    values = {"socket": socket, "venv": place.venv, "apps": place.apps, "script": script, "threads": work.threads, "pass_env": passed}
    running = []
    try:
        if way == "mod_proxy_fcgi":
            command = [str(word) for word in ours.command(place, work.app, work.threads)]
            command[command.index("--bind") + 1] = f"unix:{socket}"
            command += ["--socket-mode", "0666"]
            running.append(Server("gateway", command, place.folder, environment))
            until(socket.exists, "it listens", running[0])
        running.append(servers.apache(place.folder, way, port, values, environment))
        until(lambda: answered(work, port), "it answers", running[-1])
        return loaded(work, port, seconds, place.folder, None, lambda: [pid for server in running for pid in server.pids()], list)
    finally:
        for server in reversed(running):
            server.stop()

