"""Ranks without MPI: processes with Slurm's variables find each other by files in a folder. Collectives over TCP, trainings on the
CPU and on emulated GPUs whose losses are those of one process, a rank that is killed, and what is refused.
"""

import functools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, check, status
from ranks import command, compare, prepare, train
from test_host_cuda_ranks import CONFIG, IDREC as IDREC_HOST_CUDA, LIBRARY

TEST_COMM = pathlib.Path(IDREC_HOST_CUDA).parent / "test_comm"


def start_rank(folder, place, rank, ranks, words, job="1", **environment):
    """A process that srun would start, in the folder `place`."""
    variables = {"IDREC_RANKS_FOLDER": str(folder / "meeting"), "SLURM_PROCID": str(rank), "SLURM_JOB_ID": job,
                 "SLURM_STEP_NUM_TASKS": str(ranks), "LD_LIBRARY_PATH": LIBRARY, "HOST_CUDA_GPUS": "4"}
    (folder / "meeting").mkdir(exist_ok=True)
    return subprocess.Popen(words, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, **variables, **environment})


def start(folder, ranks, words, job="1", **environment):
    return [start_rank(folder, folder, rank, ranks, words, job, **environment) for rank in range(ranks)]


def end(processes, seconds=300):
    """Statuses and stderr of all."""
    try:
        told = [process.communicate(timeout=seconds)[1] for process in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            process.kill()
        told = [process.communicate()[1] for process in processes]
    return [process.returncode for process in processes], "".join(told)


def test_collectives(folder):
    for ranks in (2, 4):
        statuses, told = end(start(folder, ranks, [TEST_COMM, str(ranks)], job=f"comm{ranks}"))
        check(statuses == [0] * ranks, f"test_comm by {ranks}: {statuses} {told[-1500:]}")
    check(not list((folder / "meeting").iterdir()), "files of a meeting are left")


def idrec(folder, ranks, stage, output, *overrides, program=IDREC):
    words = command(1, stage, output, *overrides, program=program)
    if ranks == 1:
        return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    statuses, told = end(start(folder, ranks, words, job=f"{output}-{stage}"))
    return subprocess.CompletedProcess(words, max(map(abs, statuses)), stderr=told)


def test_losses(folder):
    emulated = functools.partial(idrec, program=IDREC_HOST_CUDA)
    layers = ["device=cpu", "language_model.layers=3"]
    cpu = train(folder, 1, "cpu1", *layers, call=idrec)
    compare(cpu, train(folder, 4, "cpu4", *layers, "finetune.shard_base=true", call=idrec), "4 ranks on the CPU")
    gpu = train(folder, 1, "gpu1", call=emulated)
    compare(gpu, train(folder, 2, "gpu2", call=emulated), "2 ranks with emulated GPUs")


def test_killed(folder):
    more = ("device=cpu", "pretrain.steps=100000")
    prepared = idrec(folder, 1, "prepare", "killed", *more)
    check(prepared.returncode == 0, f"killed: prepare: {prepared.stderr[-300:]}")
    processes = start(folder, 2, command(1, "pretrain", "killed", *more), job="killed")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (folder / "killed" / "metrics.jsonl").exists():
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGKILL)
    started = time.monotonic()
    statuses, told = end(processes, 60)
    check(statuses[0] == 1 and time.monotonic() - started < 30, f"killed: {statuses} after {time.monotonic() - started:.0f} s")
    check("rank 1 on " in told, f"killed: the rank is not named in {told[-600:]}")


def test_refusals(folder):
    result = subprocess.run([IDREC, "devices"], capture_output=True, text=True,
                            env={**os.environ, "IDREC_RANKS_FOLDER": str(folder), "OMPI_COMM_WORLD_SIZE": "2"})
    check(result.returncode == 2 and "SLURM_PROCID is not set" in result.stderr, f"no Slurm: {result.stderr[-300:]}")
    statuses, told = end(start(folder, 2, [IDREC, "devices"], IDREC_RANKS_FOLDER="/proc/nowhere"))
    check(statuses == [1, 1] and "/proc/nowhere" in told, f"no folder: {statuses} {told[-300:]}")


def test_interrupted_meeting(folder):
    """A rank that waits for another one is ended by a signal."""
    alone = start_rank(folder, folder, 0, 2, command(1, "prepare", "alone", "device=cpu"), job="alone")
    time.sleep(1)
    alone.send_signal(signal.SIGTERM)
    began = time.monotonic()
    statuses, told = end([alone], 60)
    check(statuses == [130] and time.monotonic() - began < 10,
          f"a meeting: {statuses} after {time.monotonic() - began:.0f} s: {told[-300:]}")


def check_other_start(folder, job, place, words, others_words, expected):
    """Rank 1 is started otherwise than rank 0: it is named and told so."""
    statuses, told = end([start_rank(folder, folder, 0, 2, words, job), start_rank(folder, place, 1, 2, others_words, job)], 120)
    check(statuses[1] == 2 and statuses[0] != 0, f"{job}: {statuses}")
    check("idrec: rank 1 on " in told and expected in told, f"{job}: {told[-800:]}")


def test_other_starts(folder):
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for name in ("ranks.yaml", "data.inter"):
        (elsewhere / name).write_bytes((folder / name).read_bytes())
    words = command(1, "prepare", "other", "device=cpu")
    check_other_start(folder, "settings", folder, words, [*words, "pretrain.epochs=3"], "has other settings or paths than rank 0")
    check_other_start(folder, "place", elsewhere, words, words, "has other settings or paths than rank 0")


def test_other_file_system(folder):
    """What rank 1 sees under the path of the run's folder is no file system that it shares with rank 0."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        possible = subprocess.run([*alone, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        print("NOT TESTED: a rank that sees another file system, since namespaces of users cannot be made here")
        return
    (folder / "hidden").mkdir()
    words = command(1, "prepare", "hidden", "device=cpu")
    hiding = [*alone, "sh", "-c", 'mount -t tmpfs none hidden && exec "$@"', "sh", *words]
    check_other_start(folder, "hidden", folder, words, hiding, "is not the folder that rank 0 has under this path")


def main():
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prepare(folder, CONFIG, users=60, items=40, interactions=10)
        test_collectives(folder)
        test_losses(folder)
        test_killed(folder)
        test_refusals(folder)
        test_interrupted_meeting(folder)
        test_other_starts(folder)
        test_other_file_system(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
