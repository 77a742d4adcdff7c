"""What the tests in Python share: where the sources and the program under test are, artificial data, and checks that are
counted.
"""

import os
import pathlib
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(os.environ.get("IDREC_SOURCE_DIR", pathlib.Path(__file__).resolve().parent.parent))
IDREC = os.environ.get("IDREC", str(SOURCE / "build" / "release" / "idrec"))
failures = []


def check(condition, what):
    if not condition:
        failures.append(what)
        print(f"failed: {what}", flush=True)


def idrec(folder, *arguments):
    return subprocess.run([IDREC, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=600)


def synthesize(path, *options):
    """Writes artificial data, without which there is nothing to test."""
    made = subprocess.run([IDREC, "synthesize", path, *options], capture_output=True, text=True, timeout=300)
    if made.returncode != 0:
        sys.exit(f"synthesize: {made.stderr}")


def check_refusal(result, expected, *words):
    """It ended with that status, and said nothing but why, in one line that has these words."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("idrec: ")]
    name = " ".join(map(str, result.args[1:]))
    check(result.returncode == expected, f"{name}: status {result.returncode}, not {expected}")
    check(len(lines) == 1 and not result.stdout, f"{name}: {len(lines)} error lines: {result.stdout[:200]} {result.stderr}")
    for word in words:
        check(lines and word in lines[0], f"{name}: no {word!r} in {lines}")


def lacks(*programs):
    """Whether a program that reads HDF5 is not here; says which."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        print(f"no {' and '.join(missing)}: HDF5 contents cannot be read; install hdf5-tools")
    return bool(missing)


def status():
    """Says how many checks failed; the exit status that goes with it."""
    print(f"{len(failures)} failures")
    return 1 if failures else 0
