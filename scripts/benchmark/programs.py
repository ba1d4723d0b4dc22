"""CGI: a process for each request, started as a web server starts it; hyperfine counts the milliseconds from its start to its end."""

import json
import subprocess

from works import BY_NAME

WAYS = {
    "CGIHandler": "Python's own CGIHandler",
    "one-shot": "wsgi-gateway",
    "persistent": "wsgi-gateway --persistent",
}
WORKS = ["hello", "page", "django"]


def command(way, work, place):
    app = BY_NAME[work].app
    if way == "CGIHandler":
        module, _, attribute = app.partition(":")
        script = place.folder / f"{work}.cgi"
        script.write_text(
            f"#!{place.venv}/bin/python3\nfrom wsgiref.handlers import CGIHandler\nfrom {module} import {attribute} as application\n"
            "CGIHandler().run(application)\n"
        )
        script.chmod(0o755)
        return [str(script)]
    options = ["--venv", place.venv, "--pythonpath", place.apps, "--log-level", "warn"]
    return [str(word) for word in (place.gateway, "cgi", *(["--persistent"] if way == "persistent" else []), *options, app)]


def environment(place):
    return {
        **place.environment(),
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1",
        "REMOTE_ADDR": "127.0.0.1",
    }


def milliseconds(way, work, place, runs):
    """The median of so many runs; CalledProcessError where one does not end with 0."""
    answer = place.folder / "hyperfine.json"
    words = ["hyperfine", "--shell=none", "--warmup", "2", "--runs", str(runs), "--export-json", str(answer), "--style", "none"]
    line = subprocess.list2cmdline(command(way, work, place))
    subprocess.run([*words, line], env=environment(place), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return json.loads(answer.read_text())["results"][0]["median"] * 1000


def stop(place):
    """Ends what `--persistent` has left."""
    subprocess.run([place.gateway, "stop", "--all"], env=environment(place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
