"""A Flask application: routing, forms, sessions, uploads, files, streams and errors."""

import io
import os
import zlib

from flask import Flask, Response, abort, jsonify, redirect, request, send_file, session, url_for

app = Flask(__name__)
app.secret_key = "for the tests only"


@app.get("/")
def home():
    return f"home {url_for('hello', name='you', _external=True)}"


@app.get("/hello/<name>")
def hello(name):
    return jsonify(name=name, query=request.args.get("q"), url=request.url, secure=request.is_secure)


@app.post("/form")
def form():
    return f"{request.form['first']} {request.form['second']}"


@app.get("/login")
def login():
    session["user"] = request.args["user"]
    return redirect(url_for("who"))


@app.get("/who")
def who():
    return session.get("user", "nobody")


@app.post("/upload")
def upload():
    sent = request.files["file"]
    size, total = 0, 1
    while chunk := sent.stream.read(65536):
        size += len(chunk)
        total = zlib.adler32(chunk, total)
    return f"{sent.filename} {size} {total} {request.form['comment']}"


@app.post("/json")
def json():
    return jsonify(got=request.get_json())


@app.get("/file")
def file():
    """send_file() uses wsgi.file_wrapper, and answers conditional and Range requests itself."""
    return send_file(os.environ["FLASK_FILE"], mimetype="text/plain", conditional=True)


@app.get("/memory")
def memory():
    return send_file(io.BytesIO(b"in memory"), mimetype="text/plain")


@app.get("/stream")
def stream():
    return Response((f"line {number}\n" for number in range(3)), mimetype="text/plain")


@app.get("/cookies")
def cookies():
    response = Response(f"{request.cookies.get('a')} {request.cookies.get('b')}")
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


@app.get("/teapot")
def teapot():
    abort(418)


@app.get("/fails")
def fails():
    raise RuntimeError("the view failed")


@app.get("/nothing")
def nothing():
    return "", 204
