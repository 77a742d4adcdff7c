"""What the tests in Python share: where the sources and the program under test are, and checks that are counted."""

import os
import pathlib

SOURCE = pathlib.Path(os.environ.get("IDREC_SOURCE_DIR", pathlib.Path(__file__).resolve().parent.parent))
IDREC = os.environ.get("IDREC", str(SOURCE / "build" / "release" / "idrec"))
failures = []


def check(condition, what):
    if not condition:
        failures.append(what)
        print(f"failed: {what}", flush=True)


def status():
    """Says how many checks failed; the exit status that goes with it."""
    print(f"{len(failures)} failures")
    return 1 if failures else 0
