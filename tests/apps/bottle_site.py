"""A Bottle application."""

import os
import zlib

import bottle

application = bottle.Bottle()


@application.get("/")
def home():
    return "home " + application.get_url("hello", name="you")


@application.get("/hello/<name>", name="hello")
def hello(name):
    return {"name": name, "query": bottle.request.query.q, "url": bottle.request.url}


@application.post("/form")
def form():
    return bottle.request.forms.first + " " + bottle.request.forms.second


@application.post("/upload")
def upload():
    sent = bottle.request.files.get("file")
    content = sent.file.read()
    return f"{sent.filename} {len(content)} {zlib.adler32(content)} {bottle.request.forms.comment}"


@application.get("/file")
def file():
    folder, name = os.path.split(os.environ["BOTTLE_FILE"])
    return bottle.static_file(name, root=folder, mimetype="text/plain")


@application.get("/stream")
def stream():
    for number in range(3):
        yield f"line {number}\n"


@application.get("/fails")
def fails():
    raise RuntimeError("the view failed")
