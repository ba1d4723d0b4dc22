"""What was measured, as it is written to a file by --json and read again by --from."""

import json
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Results:
    """All samples: `nginx` and `apache` by work and server, `cgi` in milliseconds by work and way; a failure is its reason."""

    date: str
    command: str
    rounds: int
    seconds: int
    machine: str
    versions: dict
    rate: int | None = None
    nginx: dict = field(default_factory=dict)
    apache: dict = field(default_factory=dict)
    cgi: dict = field(default_factory=dict)

    @classmethod
    def begun(cls, command, rounds, seconds, versions):
        return cls(time.strftime("%Y-%m-%d"), command, rounds, seconds, machine(), versions)

    @classmethod
    def read(cls, path):
        return cls(**json.loads(Path(path).read_text()))

    def write(self, path):
        """A sample a line, so that what has changed can be read."""
        text = json.dumps(json.loads(json.dumps(asdict(self)), parse_float=lambda digits: round(float(digits), 2)))
        Path(path).write_text(text.replace("{", "\n{") + "\n")

    def add(self, front, work, name, sample):
        getattr(self, front).setdefault(work, {}).setdefault(name, []).append(sample if isinstance(sample, (float, str)) else asdict(sample))


def machine():
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores ({model or platform.machine()}), Linux {platform.release().split('-')[0]}"


def failure(samples):
    """Why a server cannot do a work: it counts when it happens in one round."""
    return next((one for one in samples if isinstance(one, str)), None)


def median(samples, *names):
    """Of the sum of these figures of each sample."""
    return statistics.median(sum(sample[name] for name in names) for sample in samples)


def spread(samples, *names):
    sums = [sum(sample[name] for name in names) for sample in samples]
    return min(sums), max(sums)


COST = ("back_end", "front")


def cost(samples):
    """Processor time of web server and back end together, microseconds a request."""
    return median(samples, *COST)
