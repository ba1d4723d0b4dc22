"""What is asked of a server. Every work has a request that is looked at first: a server that answers it wrongly is not measured."""

from dataclasses import dataclass
from pathlib import Path

import load
from processes import Failure

APPS = Path(__file__).parent / "apps"
FILE_BYTES = 10 * 1024 * 1024
POST_BYTES = 1_000_000


@dataclass
class Work:
    """One work: which application, where, by how many connections, and what a right answer is."""

    name: str
    label: str
    app: str
    connections: int = 16
    threads: int = 1
    path: str = "/"
    length: int | None = None
    contains: bytes = b""
    body: int = 0
    # Whether the processor time of this work is worth a row: not where the rate is given or something else is asked meanwhile.
    costs: bool = True

    def check(self, port):
        status, body = load.ask(port, self.path, b"x" * self.body or None)
        if status != 200:
            raise Failure(f"answers {status or 'nothing'} {body[:80].decode(errors='replace').strip()}".strip())
        if self.length is not None and len(body) != self.length:
            raise Failure(f"sends {len(body)} bytes of {self.length}")
        if self.contains not in body:
            raise Failure(f"sends another body: {body[:60]!r}")

    def run(self, port, seconds, folder, rate=None):
        if self.name == "rate":
            return load.oha(port, self.path, self.connections, seconds, rate)
        if self.name == "slow":
            with load.Slow.requests(port, "/slow"):
                return load.wrk(port, self.path, self.connections, seconds)
        if self.name == "readers":
            with load.Slow.readers(port, "/large", 40):
                return load.wrk(port, self.path, self.connections, seconds)
        return load.wrk(port, self.path, self.connections, seconds, self.script(folder))

    def script(self, folder):
        """What wrk has to be told to send a body."""
        if not self.body:
            return None
        script = Path(folder) / "post.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {self.body})\n')
        return script


WORKS = [
    Work("hello", "hello, 16 connections", "plain:hello", length=14),
    Work("page", "Flask page of 10 KB", "page:app", contains=b"Pencils &amp; paper, box 71"),
    Work("django", "Django view, template and SQLite", "shop.wsgi:application", contains=b"Article 1 &amp; more"),
    Work("file", "file of 10 MB", "plain:file", connections=4, length=FILE_BYTES),
    Work("post", "POST of 1 MB", "plain:post", connections=4, contains=b"%d\n" % POST_BYTES, body=POST_BYTES),
    Work("generator", "generator of 100 blocks", "plain:generator", length=10_000),
    Work("many", "hello, 64 connections", "plain:hello", connections=64, length=14),
    Work("rate", "Flask page at a fixed rate", "page:app", contains=b"Pencils", costs=False),
    Work("slow", "hello while one request takes 0.9 s, 4 threads", "plain:mixed", connections=8, threads=4, length=14, costs=False),
    Work("readers", "hello while 40 clients read slowly, 4 threads", "plain:mixed", connections=8, threads=4, length=14, costs=False),
]
BY_NAME = {work.name: work for work in WORKS}
QUICK = ["hello", "page", "django", "file", "post", "generator"]
ON_APACHE = ["hello", "page", "django"]
