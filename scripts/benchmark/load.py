"""The load: wrk where as much as possible is wanted, oha at a fixed rate, and clients that are slow on purpose."""

import http.client
import json
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass

from processes import Failure

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


@dataclass
class Load:
    """What came of a load. Times in microseconds."""

    requests: int
    per_second: float
    p50: float
    p99: float


def ask(port, path, body=None):
    """One request and its whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST" if body else "GET", path, body)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        return 0, repr(error).encode()
    finally:
        connection.close()


def _microseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * UNITS[unit]


def wrk(port, path, connections, seconds, script=None):
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--timeout", "20s", "--latency"]
    if script:
        command += ["--script", str(script)]
    said = subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r"(\d+) requests in", said)[1])
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    torn = [int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", said)]
    lost = (int(wrong[1]) if wrong else 0) + sum(torn)
    if lost:
        raise Failure(f"{lost} of {requests} requests failed")
    if not requests:
        raise Failure("no request was answered")
    return Load(
        requests,
        float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]),
        _microseconds(re.search(r"^ +50% +(\S+)", said, re.MULTILINE)[1]),
        _microseconds(re.search(r"^ +99% +(\S+)", said, re.MULTILINE)[1]),
    )


def oha(port, path, connections, seconds, rate):
    """At a fixed rate; a request counts from when it should have been sent, not from when the server let it."""
    command = ["oha", "--no-tui", "-z", f"{seconds}s", "-c", str(connections), "-q", str(rate), "--latency-correction", "--wait-ongoing-requests-after-deadline", "--output-format", "json"]
    said = json.loads(subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout)
    codes = said["statusCodeDistribution"]
    requests = sum(codes.values())
    lost = requests - codes.get("200", 0) + sum(said["errorDistribution"].values())
    if lost:
        raise Failure(f"{lost} of {requests} requests failed")
    percentiles = said["latencyPercentiles"]
    return Load(requests, said["summary"]["requestsPerSec"], percentiles["p50"] * 1e6, percentiles["p99"] * 1e6)


class Slow:
    """Clients beside the measured ones, until the block is left. They are counted, and none may fail."""

    def __init__(self, port, path, count, one):
        self._stop, self._port, self._path, self._one = threading.Event(), port, path, one
        self.answered = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def _run(self):
        while not self._stop.is_set():
            self._one(self)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @classmethod
    def requests(cls, port, path):
        """One request a second."""

        def one(self):
            begun = time.monotonic()
            ask(self._port, self._path)
            self.answered += 1
            self._stop.wait(max(0, begun + 1 - time.monotonic()))

        return cls(port, path, 1, one)

    @classmethod
    def readers(cls, port, path, count):
        """Clients that take 100 KB a second of a long answer."""

        def one(self):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
                client.settimeout(30)
                client.connect(("127.0.0.1", self._port))
                client.sendall(f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                while not self._stop.wait(0.1):
                    if not client.recv(10_000):
                        self.answered += 1
                        return

        return cls(port, path, count, one)
