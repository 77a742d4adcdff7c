"""A file system that fills up while ranks train: the rank that finds it is named with its machine, no file is half-written, and
when there is room again another number of ranks goes on with the same losses. Needs root or user namespaces.
"""

import socket
import subprocess
import sys
import time

import machines
from checking import check
from ranks import command, compare, curve, end_of, idrec, main, prepare

ONLY = "finetune.method=none"


def fill(folder):
    """Takes all that is free."""
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def test_full(folder):
    for output in ("one", "disk/full"):
        check(idrec(folder, 1, "prepare", output, ONLY).returncode == 0, f"{output}: prepare")
    check(idrec(folder, 1, "pretrain", "one", ONLY).returncode == 0, "one: pretrain")
    process = subprocess.Popen(command(2, "pretrain", "disk/full", ONLY), cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    metrics, deadline = folder / "disk" / "full" / "metrics.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not (
            metrics.exists() and '"step":20,' in metrics.read_text()):
        time.sleep(0.01)
    fill(folder / "disk")
    seconds, code, text = end_of(process)
    named = f"idrec: rank 0 on {socket.gethostname()}: "
    check(code == 1 and seconds < 30 and named in text and "No space left on device" in text,
          f"full: after {seconds:.0f} s with status {code}: {text[-800:]}")
    (folder / "disk" / "filler").unlink()
    result = idrec(folder, 4, "pretrain", "disk/full", ONLY)
    check(result.returncode == 0 and "going on after step" in result.stderr, f"full: {result.stderr[-800:]}")
    compare(curve(folder / "one"), curve(folder / "disk" / "full"), "full")


def test_all(folder):
    prepare(folder)
    network = machines.Machines(folder, 1)
    (folder / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder / "disk"], check=True)
    try:
        test_full(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder / "disk"], check=True)
        network.close()


if __name__ == "__main__":
    why = machines.enter_namespaces()
    if why:
        print(why)
        sys.exit(77)
    sys.exit(main(test_all))
