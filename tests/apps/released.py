"""What is deployed: the file that TEST_RELEASE names says, when this is imported, what becomes of it.

`serves TEXT` answers with TEXT; the other words are ways in which a deploy goes wrong.
"""

import os
import signal
import time

word, _, text = open(os.environ["TEST_RELEASE"]).read().partition(" ")

if word == "raises":
    raise RuntimeError("this release is broken")
if word == "waits":
    with open(text, "rb") as fifo:
        fifo.read()
if word == "waits-and-raises":
    with open(text, "rb") as fifo:
        fifo.read()
    raise RuntimeError("this release is broken")
if word == "hangs":
    time.sleep(60)
if word == "segfaults":
    os.kill(os.getpid(), signal.SIGSEGV)

imports = os.open(os.environ["TEST_RELEASE"] + ".imports", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
requests = os.open(os.environ["TEST_RELEASE"] + ".requests", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(imports, b"i")
if word == "second-raises" and os.fstat(imports).st_size == 2:
    raise RuntimeError("this is not the first worker")

kept = []


def application(environ, start_response):
    os.write(requests, b"r")
    path = environ["PATH_INFO"]
    if path == "/waits":
        with open(environ["QUERY_STRING"], "rb") as fifo:
            fifo.read()
    if path == "/sleeps":
        time.sleep(float(environ["QUERY_STRING"]))
    if path == "/grows":
        kept.append(b"x" * (int(environ["QUERY_STRING"]) << 20))
    if path == "/segfaults":
        os.kill(os.getpid(), signal.SIGSEGV)
    body = (str(os.getpid()) if path == "/pid" else text).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
