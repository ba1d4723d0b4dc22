"""The Flask application that scripts/demo serves: a page that says how the request reached it, and a slow one."""

import platform
import time

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def index():
    environ = request.environ
    threads, processes = environ["wsgi.multithread"], environ["wsgi.multiprocess"]
    return (
        f"Hello from Flask on Python {platform.python_version()}.\n"
        f"{request.method} {request.path} came from {environ['REMOTE_ADDR']}\n"
        f"by way of {environ.get('SERVER_SOFTWARE', 'no web server')} and {environ['GATEWAY_INTERFACE']};\n"
        f"wsgi.multithread {threads}, wsgi.multiprocess {processes}.\n",
        {"Content-Type": "text/plain; charset=utf-8"},
    )


@app.get("/slow")
def slow():
    time.sleep(1.5)
    return "At last.\n", {"Content-Type": "text/plain; charset=utf-8"}
