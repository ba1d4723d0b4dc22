"""What an application that lives on between requests of CGI can tell: who it is, what it sees, and how it ends."""

import os
import resource
import signal
import sys

COUNT = 0


def application(environ, start_response):
    global COUNT
    COUNT += 1
    path = environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING", "")
    if path == "/pid":
        text = f"{os.getpid()}"
    elif path == "/master":
        text = f"{os.getppid()}"
    elif path == "/environ":
        text = "\n".join(f"{k}={v!r}" for k, v in sorted(environ.items()) if not k.startswith("wsgi"))
    elif path == "/os.environ":
        text = "\n".join(f"{k}={v}" for k, v in sorted(os.environ.items()))
    elif path == "/around":
        mask = os.umask(0)
        os.umask(mask)
        text = f"{os.getcwd()} {mask:o} {resource.getrlimit(resource.RLIMIT_NOFILE)[1]} {environ['wsgi.run_once']}"
    elif path == "/descriptors":
        text = "\n".join(sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")))
    elif path == "/session":
        text = f"{os.getsid(0) != int(query)}"
    elif path == "/length":
        text = f"{len(environ['wsgi.input'].read())}"
    elif path == "/echo":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter(lambda: environ["wsgi.input"].read(65536), b"")
    elif path == "/die":
        os.kill(os.getpid(), signal.SIGKILL)
        text = "dead"
    elif path == "/die_later":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return dying()
    elif path == "/wait":
        # The query names a FIFO: who waits says so there, and goes on when something comes.
        with open(query, "rb", buffering=0) as fifo:
            text = fifo.read(1).decode()
    elif path == "/print":
        print("printed by the application", flush=True)
        print("on standard error", file=sys.stderr, flush=True)
        text = "said"
    elif path == "/stderr":
        environ["wsgi.errors"].write("told the web server\n")
        text = "told"
    elif path == "/raise":
        raise RuntimeError("raised by the application")
    elif path == "/big":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * int(query)]
    else:
        text = f"{COUNT}"
    body = text.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def dying():
    yield b"begun"
    os.kill(os.getpid(), signal.SIGKILL)
    yield b"never"
