"""What tests of ranks share: trainings of one job that mpirun has started, their losses, and the processes of its ranks."""

import json
import os
import pathlib
import subprocess
import tempfile
import time

from checking import IDREC, check, status, synthesize

MPIEXEC = os.environ.get("IDREC_MPIEXEC", "")
TOLERANCE = 1e-5
CONFIG = """\
name: ranks
data: {path: data.inter}
device: cpu
threads: 1
language_model: {layers: 2, width: 32, heads: 2}
prompts: {random_cuts: 2}
pretrain: {epochs: 25, tokens_per_batch: 1000, patience: 0}
finetune: {epochs: 6, tokens_per_batch: 700, accumulate: 3, patience: 0, rank: 4}
recommenders: [{model: popularity}]
"""


def prepare(folder, config=CONFIG, users=300, items=200, interactions=15):
    """What ranks work on."""
    (folder / "ranks.yaml").write_text(config)
    synthesize(folder / "data.inter", f"--users={users}", f"--items={items}", f"--interactions={interactions}")


def command(ranks, stage, output, *overrides, program=IDREC):
    start = [] if ranks == 1 else [MPIEXEC, "-n", str(ranks)]
    return [*start, program, stage, "ranks.yaml", f"output={output}", *overrides]


def idrec(folder, ranks, stage, output, *overrides):
    return subprocess.run(command(ranks, stage, output, *overrides), cwd=folder, capture_output=True, text=True,
                          timeout=300)


def run(folder, ranks, what, output, *overrides):
    result = idrec(folder, ranks, what, output, *overrides)
    check(result.returncode == 0, f"{output}: {what} by {ranks}: {result.stderr[-1500:]}")
    return result


def curve(output):
    """What metrics.jsonl tells, by stage and step: the last line of each, since a run that goes on repeats one."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return {(line["stage"], line["step"], "loss" in line): line for line in lines}


def train(folder, ranks, output, *overrides, call=idrec):
    """A training from the data on; its losses."""
    for stage in ("prepare", "pretrain", "finetune"):
        result = call(folder, ranks, stage, output, *overrides)
        check(result.returncode == 0, f"{output}: {stage}: {result.stderr[-800:]}")
    return curve(folder / output)


def compare(expected, found, what):
    check(expected.keys() == found.keys(), f"{what}: steps {sorted(found)} instead of {sorted(expected)}")
    for key in expected.keys() & found.keys():
        for name in ("loss", "train_loss", "validation_loss", "ndcg", "recall"):
            one, other = expected[key].get(name) or 0, found[key].get(name) or 0
            close = abs(one - other) <= TOLERANCE * max(abs(one), 1e-3) if "loss" in name else abs(one - other) < 5e-3
            check(close, f"{what}: {name} at {key} is {other!r} instead of {one!r}")


def ranks_of(launcher):
    """The processes below mpirun that are idrec, by rank."""
    found = {}
    for process in pathlib.Path("/proc").iterdir():
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        rank = [entry.split(b"=")[1] for entry in environment if entry.startswith(b"OMPI_COMM_WORLD_RANK=")]
        if rank and parent == launcher:
            found[int(rank[0])] = int(process.name)
    return found


def begin(folder, ranks, stage, output, began, *overrides):
    """Starts a stage, and waits until `began` says so: its process and those of its ranks."""
    process = subprocess.Popen(command(ranks, stage, output, *overrides), cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not began(folder / output) and process.poll() is None:
        time.sleep(0.005)
    return process, ranks_of(process.pid)


def start_long(folder, ranks, output, *overrides):
    """A pretraining that has made a step."""
    run(folder, 1, "prepare", output, *overrides)
    return begin(folder, ranks, "pretrain", output, lambda place: (place / "metrics.jsonl").exists(), *overrides)


def end_of(process, longest=60):
    started = time.monotonic()
    try:
        output = process.communicate(timeout=longest)
    except subprocess.TimeoutExpired:
        process.kill()
        output = process.communicate()
    return time.monotonic() - started, process.returncode, "".join(output)


def main(test):
    """Calls test(folder), where ranks of this machine can be started, as many as are asked for; the exit status."""
    if not MPIEXEC:
        print("there is no mpirun, or the program was built without MPI")
        return 77
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                      OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_hwloc_base_binding_policy="none",
                      OMPI_MCA_btl_vader_single_copy_mechanism="none", OMP_WAIT_POLICY="passive")
    with tempfile.TemporaryDirectory() as name:
        test(pathlib.Path(name))
    return status()
