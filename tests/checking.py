"""What the tests in Python share: where the sources and the program under test are, artificial data, and checks that are
counted.
"""

import os
import pathlib
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


def status():
    """Says how many checks failed; the exit status that goes with it."""
    print(f"{len(failures)} failures")
    return 1 if failures else 0
