"""An application with things that do not survive a fork by themselves: random numbers, threads, functions of other modules."""

import atexit
import os
import random
import tempfile
import threading
import time
import uuid

with open(os.environ["TEST_IMPORTS"], "a") as file:
    file.write(f"{os.getpid()}\n")

# Drawn from before the fork, so that all of them would go on with the same numbers.
random.random()
importer = os.getpid()
forked = []
os.register_at_fork(before=lambda: forked.append("before"), after_in_child=lambda: forked.append(os.getpid()))


@atexit.register
def farewell():
    with open(os.environ["TEST_IMPORTS"] + ".farewells", "a") as file:
        file.write(f"{os.getpid()}\n")


# For as long as that file is there.
while os.path.exists(os.environ.get("TEST_HANG", "")):
    time.sleep(0.01)

if "TEST_THREAD" in os.environ:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def in_a_thread(function):
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


def application(environ, start_response):
    if environ["QUERY_STRING"]:
        with open(environ["QUERY_STRING"], "rb") as fifo:
            fifo.read()
    with tempfile.TemporaryFile():
        pass
    answer = {
        "pid": os.getpid(),
        "importer": importer,
        "forked": ",".join(map(str, forked)),
        "random": random.random(),
        "uuid": uuid.uuid4(),
        "thread": in_a_thread(os.getpid),
        "main": threading.current_thread() is threading.main_thread(),
    }
    body = "".join(f"{name}={value}\n" for name, value in answer.items()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
