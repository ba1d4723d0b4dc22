"""Processes as the kernel sees them: their processor time, their memory, and how a server is started and stopped."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path


class Failure(Exception):
    """A peer that cannot do a work, with the reason in a few words."""


def family(pid):
    """The process and all that it has started and that still is."""
    found, children = [], {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def cpu_seconds(pids):
    """Processor time of all threads of these processes, those that have ended included (the kernel's CPU clock of a process)."""
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)
        except OSError:
            pass
    return total


def memory_bytes(pids):
    """Proportional set size: what is shared counts once."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total


class Server:
    """A server that is running: a command with what it started, and a log."""

    def __init__(self, name, command, folder, environment):
        self.name, self.log = name, Path(folder) / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
            )

    def pids(self):
        return family(self.process.pid)

    def must_run(self):
        if self.process.poll() is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines() or ["without a word"]
            raise Failure(f"ended while starting: {lines[-1][:200]}")

    def stop(self, sign=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sign)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        # Whatever it has left behind, and what does not listen to SIGTERM.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def until(look, what, server, seconds=20):
    """Waits until `look` says yes; OSError is a no."""
    end = time.monotonic() + seconds
    while True:
        server.must_run()
        try:
            if look():
                return
        except OSError:
            pass
        if time.monotonic() > end:
            raise Failure(f"{what} not within {seconds} s")
        time.sleep(0.01)
