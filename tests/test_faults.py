"""What goes wrong at one rank of a job: a rank that stands still or dies is named with its machine and ends the job, one that
is only slow does not, and a full disk or a lost folder is told by the rank that finds it. What was saved stays whole.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

from checking import check
from ranks import MPIEXEC, command, compare, curve, end_of, idrec, main, prepare, start_long, train

ONLY = "finetune.method=none"
HOST = socket.gethostname()
SILENCE = "IDREC_SILENCE_SECONDS"


def is_there(process):
    try:
        return "Z" not in pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def test_standing_still(folder, expected):
    """A rank that is stopped ends the job, whichever it is, and no process stays; any number of ranks goes on."""
    os.environ[SILENCE] = "5"
    for victim, ranks, later in ((1, 2, 1), (0, 3, 2)):
        output = f"still{victim}"
        process, processes = start_long(folder, ranks, output, ONLY)
        check(len(processes) == ranks, f"{output}: {processes} instead of {ranks} ranks")
        os.kill(processes.get(victim, process.pid), signal.SIGSTOP)
        seconds, code, text = end_of(process)
        check(4 < seconds < 30 and code not in (0, None), f"{output}: ended after {seconds:.0f} s with status {code}")
        check(f"idrec: rank {victim} on {HOST}: no sign of life for 5 s" in text, f"{output}: {text[-800:]}")
        left, deadline = list(processes), time.monotonic() + 10
        while left and time.monotonic() < deadline:  # the launcher ends them after it has been told
            time.sleep(0.1)
            left = [rank for rank, number in processes.items() if is_there(number)]
        check(not left, f"{output}: ranks {left} are still there")
        result = idrec(folder, later, "pretrain", output, ONLY)
        check(result.returncode == 0, f"{output}: {result.stderr[-600:]}")
        compare(expected, curve(folder / output), output)
    del os.environ[SILENCE]


def test_slow(folder, expected):
    """A rank that stands still for less than the limit, or that nobody watches, is waited for."""
    for limit, seconds in (("30", 3), ("0", 5)):
        os.environ[SILENCE] = limit
        output = f"slow{limit}"
        process, processes = start_long(folder, 2, output, ONLY)
        os.kill(processes.get(1, process.pid), signal.SIGSTOP)
        time.sleep(seconds)
        check(process.poll() is None, f"{output}: a slow rank ends the job")
        os.kill(processes.get(1, process.pid), signal.SIGCONT)
        _, code, text = end_of(process, 300)
        check(code == 0 and "no sign of life" not in text, f"{output}: status {code}: {text[-600:]}")
        compare(expected, curve(folder / output), output)
    os.environ[SILENCE] = "soon"
    result = idrec(folder, 2, "pretrain", "slow0", ONLY)
    check(result.returncode == 2 and f"{SILENCE} is soon; it takes seconds" in result.stderr, result.stderr[-600:])
    del os.environ[SILENCE]


def test_dying(folder):
    """Of a rank that dies rank 0 says so, whatever the launcher says."""
    process, processes = start_long(folder, 3, "dying", ONLY)
    os.kill(processes.get(2, process.pid), signal.SIGKILL)
    seconds, code, text = end_of(process)
    check(seconds < 30 and code != 0, f"dying: ended after {seconds:.0f} s with status {code}")
    check(f"idrec: rank 2 on {HOST}: ended without a word" in text, f"dying: {text[-800:]}")


def run_ranks(folder, shell, output):
    """Two ranks, each started by a line of shell in which "$@" is its program."""
    program = command(1, "pretrain", output, ONLY)
    return subprocess.run([MPIEXEC, "--mca", "btl", "self,tcp", "-n", "2", "bash", "-c", shell, "rank", *program], cwd=folder,
                          capture_output=True, text=True, timeout=300)


def test_full_disk(folder, expected):
    """Files of rank 0 can grow no further: it says so, and what it leaves is gone on with."""
    check(idrec(folder, 1, "prepare", "full", ONLY).returncode == 0, "full: prepare")
    result = run_ranks(folder, 'ulimit -f 64; exec "$@"', "full")
    check(result.returncode == 1 and f"idrec: rank 0 on {HOST}: " in result.stderr and "File too large" in result.stderr,
          f"full: status {result.returncode}: {result.stderr[-800:]}")
    result = idrec(folder, 2, "pretrain", "full", ONLY)
    check(result.returncode == 0, f"full: {result.stderr[-600:]}")
    compare(expected, curve(folder / "full"), "full")


def test_lost_folder(folder):
    """A folder that is lost while ranks work, and one that a rank never sees."""
    process, _ = start_long(folder, 2, "lost", ONLY)
    shutil.move(folder / "lost", folder / "elsewhere")
    _, code, text = end_of(process, 300)
    check(code == 1 and f"idrec: rank 0 on {HOST}: " in text and "lost/" in text and "No such file" in text,
          f"lost: status {code}: {text[-800:]}")
    (folder / "other").mkdir()
    shutil.copy(folder / "ranks.yaml", folder / "other")
    check(idrec(folder, 1, "prepare", "unseen", ONLY).returncode == 0, "unseen: prepare")
    result = run_ranks(folder, 'test "$OMPI_COMM_WORLD_RANK" = 0 || cd other; exec "$@"', "unseen")
    check(result.returncode not in (0, None) and f"idrec: rank 1 on {HOST}: " in result.stderr,
          f"unseen: status {result.returncode}: {result.stderr[-800:]}")


def test_all(folder):
    prepare(folder)
    expected = train(folder, 1, "one", ONLY)
    test_standing_still(folder, expected)
    test_slow(folder, expected)
    test_dying(folder)
    test_full_disk(folder, expected)
    test_lost_folder(folder)


if __name__ == "__main__":
    sys.exit(main(test_all))
