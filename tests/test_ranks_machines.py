"""Ranks on machines that share nothing but a folder: network namespaces with addresses and host names of their own. By
mpirun, which starts them there by a command in place of ssh, and by hand without MPI, 2 and 4 machines have the losses and the
files of one process, and what goes over the wires is what docs/scaling.md says. A machine that is cut off is named and ends the
job, and another number of ranks goes on. Needs root or user namespaces, `ip` (Debian: iproute2) and h5diff.
"""

import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import machines
import test_ranks_stages
from checking import IDREC, check, lacks, synthesize
from ranks import MPIEXEC, compare, curve, main, prepare
from test_kill import differences

COUNT = 4
# So that what is sent is gradients and weights rather than what goes with every message.
WIDE = ["language_model.width=64"]
LOST_SECONDS = 30
JOBS = itertools.count()


def start(words, **variables):
    """A process and the file that it tells in: what is left of a job on a lost machine would keep a pipe open."""
    told = tempfile.TemporaryFile("w+")
    return subprocess.Popen(words, stdout=told, stderr=told, env={**os.environ, **variables}), told


def end(jobs, seconds=300):
    """Statuses and all that was told."""
    deadline = time.monotonic() + seconds
    for process, _ in jobs:
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    told = ""
    for _, file in jobs:
        file.seek(0)
        told += file.read()
        file.close()
    return [process.returncode for process, _ in jobs], told


def by_mpirun(network, ranks, words):
    """Open MPI without shared memory; told to find out that a machine is lost."""
    settings = {"plm_rsh_agent": f"{sys.executable} {machines.__file__}", "pml": "ob1", "btl": "tcp,self",
                "orte_tmpdir_base": os.getcwd(), "btl_tcp_if_include": network.SUBNET, "oob_tcp_if_include": network.SUBNET,
                "oob_tcp_keepalive_time": "4", "oob_tcp_keepalive_intvl": "2", "oob_tcp_keepalive_probes": "5"}
    hosts = ",".join(f"{name}:1" for name in network.names[:ranks])
    launch = [MPIEXEC, "-H", hosts, "-n", str(ranks), "-x", "OMP_WAIT_POLICY"]
    for name, value in settings.items():
        launch += ["--mca", name, value]
    return [start([*launch, *words])]


def by_hand(network, ranks, words):
    """As srun would without MPI."""
    job = next(JOBS)
    pathlib.Path("meeting").mkdir(exist_ok=True)
    return [start(network.at(network.names[rank], words), IDREC_RANKS_FOLDER="meeting", SLURM_PROCID=str(rank),
                  SLURM_STEP_NUM_TASKS=str(ranks), SLURM_JOB_ID=str(job)) for rank in range(ranks)]


def told_way(way):
    return way.__name__.replace("_", " ")


def by_itself(network, ranks, words):
    return [start(words)]


def words_of(stage, output, *overrides):
    return [IDREC, stage, "ranks.yaml", f"output={output}", *overrides]


def run(network, way, ranks, stage, output, *overrides):
    statuses, told = end(way(network, ranks, words_of(stage, output, *overrides)))
    check(not any(statuses), f"{output}: {stage}: {statuses} {told[-1500:]}")
    return told


def bytes_told(log):
    """What rank 0 has sent in a pretraining's steps by the model of docs/scaling.md, and all that it has counted."""
    lines = [line for line in log.splitlines() if " pretrain: " in line]
    step = next(line for line in lines if "scaling.md says" in line).split("scaling.md says ")[1]
    steps, counted = next(line for line in lines if " steps; rank 0 has sent" in line).split(" steps; ")
    return int(step) * int(steps.split()[-1]), sum(map(int, re.findall(r"(\d+) bytes in", counted)))


def train(network, way, ranks, output):
    """The curve of a training, and what each machine has sent in its pretraining."""
    run(network, by_itself, 1, "prepare", output, *WIDE)
    before = network.sent()
    run(network, way, ranks, "pretrain", output, *WIDE)
    sent = {name: count - before[name] for name, count in network.sent().items()}
    run(network, way, ranks, "finetune", output, *WIDE)
    return curve(pathlib.Path(output)), sent


def check_wires(network, sent, ranks, what):
    """All exchanges, and little else, have gone from machine to machine."""
    model, counted = bytes_told((pathlib.Path(what) / "log.txt").read_text())
    first, *others = network.names[:ranks]
    check(model <= counted and 1 <= sent[first] / counted < 1.1, f"{what}: {sent} for {counted} bytes, {model} of steps")
    check(all(sent[name] > model for name in others), f"{what}: {sent} for {model} bytes of steps")
    check(sum(sent[name] for name in network.names[ranks:]) < 10000, f"{what}: others have sent {sent}")
    print(f"  steps by the model of docs/scaling.md: {model / 1e6:.2f} MB; counted by rank 0: {counted / 1e6:.2f} MB; "
          f"sent by its machine: {sent[first] / 1e6:.2f} MB")


def furthest(expected, found):
    both = [key for key, line in expected.items() if "loss" in line and key in found]
    return max(abs(found[key]["loss"] / expected[key]["loss"] - 1) for key in both)


def test_losses(network):
    expected, _ = train(network, by_itself, 1, "one")
    steps = max(step for stage, step, _ in expected if stage == "pretrain")
    check(steps >= 100, f"only {steps} steps of pretraining")
    for way in (by_mpirun, by_hand):
        for ranks in (2, 4):
            output = f"{way.__name__}_{ranks}"
            found, sent = train(network, way, ranks, output)
            compare(expected, found, output)
            print(f"{ranks} machines, {told_way(way)}: {steps} steps and fine-tuning, losses within "
                  f"{furthest(expected, found):.1e} of one process's", flush=True)
            check_wires(network, sent, ranks, output)
    return expected


def test_stages(network):
    """Generated rows, models, lists and metrics are those of one process."""
    pathlib.Path("stages").mkdir()
    os.chdir("stages")
    pathlib.Path("ranks.yaml").write_text(test_ranks_stages.CONFIG)
    synthesize("data.inter", f"--users={test_ranks_stages.USERS}", "--items=60", "--interactions=10")
    for stage in ("prepare", "pretrain", "finetune"):
        run(network, by_itself, 1, stage, "trained")
    for way, ranks in ((by_itself, 1), (by_mpirun, 2), (by_mpirun, 4), (by_hand, 4)):
        output = f"{way.__name__}_{ranks}"
        shutil.copytree("trained", output)
        for stage in ("generate", "augment", "train", "evaluate"):
            run(network, way, ranks, stage, output)
        if ranks > 1:
            found = differences(pathlib.Path("by_itself_1"), pathlib.Path(output))
            check(not found, f"{output}: {found}")
            print(f"{ranks} machines, {told_way(way)}: generated.h5, models, lists and metrics are "
                  f"{'not ' if found else ''}those of one process", flush=True)
    os.chdir("..")


def running(output):
    """Processes that work on a folder."""
    found = []
    for process in pathlib.Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if words[0] == IDREC.encode() and f"output={output}".encode() in words:
            found.append(int(process.name))
    return found


def told_of(output):
    try:
        return (pathlib.Path(output) / "metrics.jsonl").read_text()
    except OSError:
        return ""


def cut_off(network, way, ranks, victim, output):
    """Pulls a machine's cable out in the middle of a pretraining: what was told, seconds until ranks and all had ended."""
    run(network, by_itself, 1, "prepare", output, *WIDE)
    jobs = way(network, ranks, words_of("pretrain", output, *WIDE))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and '"step":40,' not in told_of(output) and jobs[0][0].poll() is None:
        time.sleep(0.02)
    network.cut_off(network.names[victim])
    started = time.monotonic()
    while running(output) and time.monotonic() < started + 2 * LOST_SECONDS:
        time.sleep(0.05)
    gone = time.monotonic() - started
    statuses, told = end(jobs, 2 * LOST_SECONDS)
    network.connect(network.names[victim])
    check(all(statuses), f"{output}: {statuses} {told[-800:]}")
    return told, gone, time.monotonic() - started


def test_cut_off(network, expected):
    """A machine that is lost, that of rank 0 too, is named and ends the job within 30 seconds, and others go on."""
    expected = {key: line for key, line in expected.items() if key[0] == "pretrain"}
    for way, ranks, victim, later in ((by_mpirun, 2, 1, 4), (by_mpirun, 4, 0, 2), (by_hand, 4, 2, 2)):
        output = f"cut_{way.__name__}_{victim}"
        told, gone, seconds = cut_off(network, way, ranks, victim, output)
        named = f"idrec: rank {victim} on {network.names[victim]}: no sign of life"
        check(named in told, f"{output}: {told[-1500:]}")
        check(gone < LOST_SECONDS and seconds < LOST_SECONDS, f"{output}: ranks ended after {gone:.0f} s, all {seconds:.0f} s")
        on = run(network, way, later, "pretrain", output, *WIDE)
        on = re.search(r"going on after step \d+", on)
        check(on, f"{output}: begun anew")
        found = curve(pathlib.Path(output))
        compare(expected, found, output)
        print(f"{ranks} machines, {told_way(way)}, that of rank {victim} cut off: {'' if named in told else 'not '}named, ranks "
              f"ended after {gone:.1f} s and the job after {seconds:.1f} s\n  {later} machines, {on and on.group()}: losses "
              f"within {furthest(expected, found):.1e} of one process's", flush=True)


def test_all(folder):
    os.chdir(folder)
    prepare(folder)
    network = machines.Machines(folder, COUNT)
    try:
        expected = test_losses(network)
        test_stages(network)
        test_cut_off(network, expected)
    finally:
        network.close()


if __name__ == "__main__":
    if lacks("h5diff"):
        sys.exit(77)
    why = machines.enter_namespaces()
    if why:
        print(why)
        sys.exit(77)
    sys.exit(main(test_all))
