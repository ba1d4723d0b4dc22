"""The peers: how each is started with one worker, as its own manual says for a site behind nginx, and what its version is."""

import os
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

OURS = "wsgi-gateway"


@dataclass
class Place:
    """Where things are on this machine."""

    gateway: str
    venv: Path
    apps: Path
    folder: Path

    def socket(self, name):
        return self.folder / f"{name}.sock"

    def environment(self):
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(self.apps),
            "PYTHONDONTWRITEBYTECODE": "",
            "BENCH_FILE": str(self.folder / "file"),
            "BENCH_DATABASE": str(self.folder / "shop.sqlite3"),
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            # Where the gateway has what it needs no privileges for.
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
        }


@dataclass
class Peer:
    """A server, or one of its protocols."""

    name: str
    label: str
    protocol: str
    # Only shown beside the others: it does not run WSGI.
    yardstick: bool = False

    def command(self, place, app, threads):
        socket, binaries = place.socket(self.name), place.venv / "bin"
        if self.name == OURS:
            control = place.folder / "control.sock"
            return [
                place.gateway, "fastcgi", "--bind", f"unix:{socket}", "--workers", "1", "--threads", str(threads), "--venv", place.venv,
                "--pythonpath", place.apps, "--log-level", "warn", "--control", control, app,
            ]  # fmt: skip
        if self.name.startswith("uwsgi"):
            return [
                "uwsgi", "--plugin", "python3", "--socket" if self.protocol == "uwsgi" else "--fastcgi-socket", socket,
                "--master", "--processes", "1", *(["--threads", str(threads)] if threads > 1 else []), "--venv", place.venv,
                "--pythonpath", place.apps, "--module", app, "--need-app", "--single-interpreter", "--die-on-term", "--disable-logging",
                "--listen", "1024",
            ]  # fmt: skip
        if self.name == "gunicorn":
            return [
                binaries / "gunicorn", "--bind", f"unix:{socket}", "--workers", "1", *(["--threads", str(threads)] if threads > 1 else []),
                "--worker-tmp-dir", "/dev/shm", "--log-level", "warning", app,
            ]  # fmt: skip
        if self.name == "granian":
            return [
                binaries / "granian", "--interface", "wsgi", "--uds", socket, "--workers", "1", "--blocking-threads", str(threads),
                "--log-level", "warning", app,
            ]  # fmt: skip
        if self.name == "waitress":
            return [binaries / "waitress-serve", f"--unix-socket={socket}", f"--threads={threads}", app]
        if self.name == "flup":
            return [binaries / "python3", place.apps / "serve_flup.py", socket, app]
        if self.name == "php-fpm":
            configuration = place.folder / "php-fpm.conf"
            configuration.write_text(
                f"[global]\nerror_log = {place.folder}/php-fpm-error.log\n[bench]\nlisten = {socket}\npm = static\npm.max_children = 1\n"
            )
            return [php_fpm(), "--nodaemonize", *(["--allow-to-run-as-root"] if os.geteuid() == 0 else []), "--fpm-config", configuration]
        raise AssertionError(self.name)

    def version(self, place):
        if self.name == OURS:
            return said(place.gateway, "--version").split()[1]
        if self.name.startswith("uwsgi"):
            return said("uwsgi", "--version")
        if self.name == "php-fpm":
            return said(php_fpm(), "--version").split()[1]
        return version(self.name)


PEERS = [
    Peer(OURS, "wsgi-gateway", "fastcgi"),
    Peer("uwsgi", "uWSGI, own protocol", "uwsgi"),
    Peer("uwsgi-fastcgi", "uWSGI, FastCGI", "fastcgi-closed"),
    Peer("gunicorn", "gunicorn", "http"),
    Peer("granian", "granian", "http"),
    Peer("waitress", "waitress", "http"),
    Peer("flup", "flup", "fastcgi"),
    Peer("php-fpm", "php-fpm (PHP)", "php", yardstick=True),
]


def said(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout.strip()


def php_fpm():
    """Debian's has its version in its name."""
    found = sorted(Path("/usr/sbin").glob("php-fpm[0-9]*"))
    return str(found[-1]) if found else "php-fpm"
