"""Runs the parts one after the other, each within its share of the time and with a log of its own, and tells how it went."""
import dataclasses
import os
import pathlib
import re
import shlex
import signal
import subprocess
import time

from .place import has_module


class Failed(Exception):
    """The part ran and something was wrong. `output`: what the program had printed by then."""

    def __init__(self, reason, output=""):
        super().__init__(reason)
        self.output = output


class NotMeasured(Exception):
    """The part could not run here: no GPU, no tool, no peer."""


@dataclasses.dataclass
class Figure:
    name: str
    value: str            # with its unit
    peer: str = ""        # the same of what it is compared with, or why there is none
    ratio: float = None   # how many times better than the peer; None: not compared
    aim: str = ""


@dataclasses.dataclass
class Result:
    part: str
    status: str           # passed | ran (small) | FAILED | not measured
    seconds: float
    reason: str = ""
    figures: list = dataclasses.field(default_factory=list)


class Context:
    """What a part works with: programs, a scratch folder, the log, and the moment at which it must end."""

    def __init__(self, place, device, small, folder):
        self.place, self.device, self.small, self.folder = place, device, small, pathlib.Path(folder)
        self.kept = {}  # what a part leaves for a later one
        self.figures, self.log, self.end = [], None, None

    def begin(self, log_path, end):
        self.figures, self.end = [], end
        self.log = open(log_path, "a", encoding="utf-8")

    def figure(self, name, value, **more):
        self.figures.append(Figure(name, value, **more))

    def compare(self, name, ours, peer, unit, aim="", lower_is_better=False):
        """A figure beside a peer's; peer: a number, or the text that says why there is none."""
        known = isinstance(peer, (int, float))
        comparable = known and ours and peer and not self.small
        ratio = (peer / ours if lower_is_better else ours / peer) if comparable else None
        self.figure(name, quantity(ours, unit), peer=quantity(peer, unit) if known else str(peer), ratio=ratio, aim=aim)

    def left(self):
        return self.end - time.monotonic()

    def program(self, name, *arguments, seconds=None, prefix=()):
        """Runs one of our programs; returns what it printed."""
        path = self.place.program(name)
        if not path:
            raise Failed(f"{name} is not in {', '.join(map(str, self.place.folders))}")
        return self.run([*prefix, str(path), *map(str, arguments)], self.place.environment(), seconds)

    def peer(self, script, *arguments, module="torch", seconds=None):
        """Runs a peer; returns what it printed, or None after noting in the log why it could not run."""
        if not self.place.python or not has_module(self.place.python, module):
            self.note(f"{script}: not measured, {module} is not there")
            return None
        try:
            command = [self.place.python, str(self.place.peers / script), *map(str, arguments)]
            return self.run(command, dict(os.environ, PYTHONUNBUFFERED="1"), seconds)
        except (Failed, NotMeasured) as why:
            self.note(f"{script}: not measured, {why}")
            return None

    def note(self, text):
        self.log.write(text + "\n")
        self.log.flush()

    def start(self, command, environment):
        """Starts a process whose output goes to the log; returns it and where in the log that begins."""
        self.note("$ " + shlex.join(map(str, command)))
        begin = os.path.getsize(self.log.name)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
                                env=environment, start_new_session=True), begin

    def run(self, command, environment, seconds=None):
        limit = min(seconds or self.left(), self.left())
        if limit <= 0:
            raise Failed("the time of this part is spent")
        name, (process, begin) = pathlib.Path(command[0]).name, self.start(command, environment)
        try:
            status = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            stop(process)
            raise Failed(f"{name} was stopped after {limit:.0f} s", self.printed_since(begin)) from None
        output = self.printed_since(begin)
        if status == 77:
            raise NotMeasured(last_line(output))
        if status != 0:
            raise Failed(f"{name} ended with status {status}: {last_line(output)}", output)
        return output

    def printed_since(self, begin):
        with open(self.log.name, "rb") as written:
            written.seek(begin)
            return written.read().decode("utf-8", errors="replace")


def all_of(*steps):
    """Takes every step; what went wrong in them is told together at the end."""
    failures = []
    for step in steps:
        try:
            step()
        except Failed as why:
            failures.append(str(why))
    if failures:
        raise Failed("; ".join(failures))


def stop(process):
    """Ends a process and what it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def quantity(number, unit):
    digits = 0 if abs(number) >= 1000 else 2 if abs(number) >= 1 else 4
    return f"{number:,.{digits}f} {unit}".strip()


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def number_after(pattern, text):
    """The number that group 1 of the pattern matches, of the last match; fails when there is none."""
    found = re.findall(pattern, text)
    if not found:
        raise Failed(f"no figure like {pattern!r} in the output")
    return float(found[-1])


def run_part(context, part, log_path, end):
    """A part that fails in whatever way is a row of the table; the next one runs."""
    started = time.monotonic()
    context.begin(log_path, min(end, started + part.budget))
    status, reason = ("ran (small)" if context.small else "passed"), ""
    try:
        part.work(context)
    except NotMeasured as why:
        status, reason = "not measured", str(why)
    except Failed as why:
        status, reason = "FAILED", str(why)
    except Exception as error:  # a defect of a part must not cost the parts after it
        status, reason = "FAILED", f"{type(error).__name__}: {error}"
    if reason:
        context.note(f"{status}: {reason}")
    context.log.close()
    return Result(part.name, status, time.monotonic() - started, reason, context.figures)
