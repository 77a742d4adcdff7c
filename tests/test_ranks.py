"""Ranks of one job, started by mpirun: a training by 2 and by 4 has the losses of one by one process, the work and the
optimizer's state are divided, gradients are summed beside the backward pass, a rank that is killed or fails ends the job, a
signal saves the state, and any number of ranks goes on from it.
`test_ranks.py --kills 10` kills any rank at so many random moments instead.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

from checking import IDREC, check
from ranks import MPIEXEC, command, compare, curve, end_of, idrec, main, prepare, ranks_of, start_long, train

# Items of several tokens, and all weights fine-tuned.
CODES = ["language_model.indexing=collaborative", "finetune.method=full", "pretrain.epochs=4", "finetune.epochs=2"]
# Fewer sequences in a step than there are ranks.
FEW = ["pretrain.sequences_per_batch=1", "pretrain.steps=100", "finetune.method=none"]


def test_losses(folder):
    expected = train(folder, 1, "one")
    steps = max(step for stage, step, _ in expected if stage == "pretrain")
    check(steps >= 100, f"only {steps} steps of pretraining")
    for ranks in (2, 4):
        compare(expected, train(folder, ranks, f"by{ranks}"), f"{ranks} ranks")
        manifest = json.loads((folder / f"by{ranks}" / "manifest.json").read_text())
        check(manifest["device"]["ranks"] == ranks, f"manifest: {manifest['device']}")
        log = (folder / f"by{ranks}" / "log.txt").read_text()
        check(log.count("pretrain: done in") == 1, f"{ranks} ranks: not one rank alone tells")
    return expected


def test_kinds(folder):
    for name, overrides in (("codes", CODES), ("few", FEW)):
        expected = train(folder, 1, f"{name}1", *overrides)
        compare(expected, train(folder, 4, f"{name}4", *overrides), f"{name}, 4 ranks")


def test_same_bits(folder):
    """The same number of ranks gives the same bits."""
    train(folder, 2, "again", "pretrain.epochs=3", "finetune.epochs=1")
    train(folder, 2, "once_more", "pretrain.epochs=3", "finetune.epochs=1")
    for model in ("base/model.safetensors", "adapter/adapter_model.safetensors"):
        one, other = ((folder / run / "language_model" / model).read_bytes() for run in ("again", "once_more"))
        check(one == other, f"{model} differs between two runs by 2 ranks")


def test_volume(folder):
    """What a step sends, counted and by the model: (ranks - 1) / ranks of the gradients and of the weights."""
    for ranks in (2, 4):
        log = (folder / f"by{ranks}" / "log.txt").read_text()
        line = next(line for line in log.splitlines() if "pretrain: rank 0 has sent" in line)
        counted, told = (int(line.split(before)[1].split()[0]) for before in ("has sent ", "scaling.md says "))
        weights = (folder / f"by{ranks}" / "language_model" / "base" / "model.safetensors").stat().st_size
        expected = 2 * (ranks - 1) / ranks * weights
        check(abs(counted / expected - 1) < 0.05, f"{ranks} ranks: {counted} bytes a step of {weights}: {line}")
        check(abs(counted / told - 1) < 0.001, f"{ranks} ranks: the model is wrong: {line}")
        check(f"pretrain: {ranks} ranks" in log and "reduce-scatter" in log, f"{ranks} ranks: {log[-600:]}")


def optimizer_mebibytes(folder, ranks):
    """As the table of the memory tells before the training begins."""
    result = idrec(folder, ranks, "pretrain", f"memory{ranks}", "pretrain.epochs=1", "language_model.width=128")
    check(result.returncode == 0, f"memory, {ranks} ranks: {result.stderr[-600:]}")
    return float(next(line for line in result.stderr.splitlines() if "optimizer  " in line).split("optimizer")[1]
                 .split()[0])


def test_memory(folder):
    """Each of two ranks keeps half of the moments."""
    for ranks in (1, 2):
        check(idrec(folder, 1, "prepare", f"memory{ranks}").returncode == 0, "memory: prepare")
    whole, half = (optimizer_mebibytes(folder, ranks) for ranks in (1, 2))
    check(whole > 1 and abs(2 * half - whole) <= 0.15, f"moments: {half} MiB of {whole} at each of 2 ranks")


def overlap(spans, rank):
    """Seconds in which a rank sums gradients while it computes the backward pass."""
    own = [span for span in spans if span["pid"] == rank]
    computed = [span for span in own if span["name"].startswith("backward, layer")]
    sums = [span for span in own if span["name"] == "reduce-scatter"]
    check(computed and sums, f"rank {rank}: {sorted({span['name'] for span in own})}")
    return sum(max(0, min(a["ts"] + a["dur"], b["ts"] + b["dur"]) - max(a["ts"], b["ts"]))
               for a in computed for b in sums) * 1e-6


def test_trace(folder):
    """A file that Chrome reads: both ranks, the bytes, and sums beside the backward pass."""
    model = ["language_model.layers=6", "language_model.width=128", "pretrain.tokens_per_batch=2000"]
    check(idrec(folder, 1, "prepare", "traced").returncode == 0, "trace: prepare")
    result = idrec(folder, 2, "pretrain", "traced", "pretrain.steps=6", *model, "--trace=trace.json")
    check(result.returncode == 0, f"trace: {result.stderr[-600:]}")
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    check({span["pid"] for span in spans} == {0, 1}, "trace: not both ranks")
    check(all(span["ts"] >= 0 and span["dur"] >= 0 for span in spans), "trace: times before its beginning")
    steps = [span for span in spans if span["name"].startswith("step ") and span["pid"] == 1]
    check(len(steps) == 4, f"trace: {len(steps)} steps of rank 1")
    names = {span["name"] for span in spans if span["pid"] == 0}
    wanted = {"forward", "loss and its backward", "backward, layer 0", "backward, layer 5", "backward, embedding",
              "reduce-scatter", "all-gather", "wait for gradients", "update"}
    check(wanted <= names, f"trace: {sorted(wanted - names)} are missing")
    check(all(span["args"]["bytes"] > 0 for span in spans if span["name"] == "reduce-scatter"), "trace: no bytes")
    for rank in (0, 1):
        seconds = overlap(spans, rank)
        check(seconds > 0, f"trace: rank {rank} sums nothing while it computes")
        print(f"rank {rank}: {1e3 * seconds:.1f} ms of the sums of 4 steps beside the backward pass")
    refused = idrec(folder, 1, "pretrain", "traced", *model, "--trace=nowhere/trace.json")
    check(refused.returncode == 2 and "folder of the trace" in refused.stderr, f"trace: {refused.stderr[-300:]}")


def test_killed(folder, expected):
    """SIGKILL of a rank; then another number of ranks goes on, with the same losses."""
    for victim, ranks, later in ((1, 2, 4), (0, 4, 1)):
        output = f"killed{victim}"
        process, processes = start_long(folder, ranks, output, "finetune.method=none")
        check(len(processes) == ranks, f"{processes} instead of {ranks} ranks")
        os.kill(processes.get(victim, process.pid), signal.SIGKILL)
        seconds, code, text = end_of(process)
        check(seconds < 30 and code != 0, f"{output}: ended after {seconds:.0f} s with status {code}")
        check(f"rank {victim} " in text, f"{output}: the rank is not named in {text[-600:]}")
        found = train(folder, later, output, "finetune.method=none")
        compare({key: line for key, line in expected.items() if key[0] == "pretrain"}, found, output)


def kill_once(folder, output, ranks, longest, draw):
    """Starts a training by so many ranks and kills one of them; what is to be told, and whether it had ended before."""
    process = subprocess.Popen(command(ranks, "pretrain", output, "finetune.method=none"), cwd=folder,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    processes = {}
    while process.poll() is None and len(processes) < ranks:
        processes = ranks_of(process.pid)
        time.sleep(0.01)
    victim, delay = draw.randrange(ranks), draw.uniform(0.0, longest)
    try:
        process.wait(timeout=delay)
    except subprocess.TimeoutExpired:
        os.kill(processes[victim], signal.SIGKILL)
    seconds, code, text = end_of(process)
    begun = re.search(r"going on after step \d+", text)
    begun = begun.group() if begun else "from the beginning"
    if code == 0:
        return f"{ranks} ranks, {begun}: done", True
    named = f"rank {victim} " in text
    check(named and seconds < 30, f"{output}: rank {victim} of {ranks}: {seconds:.0f} s, {text[-600:]}")
    return (f"{ranks} ranks, {begun}: rank {victim} killed {delay:.2f} s after its start, job ended "
            f"{seconds:.1f} s later with status {code}, the rank {'' if named else 'not '}named"), False


def kill_at_random(folder, kills):
    """Any rank is killed at any moment, and other numbers of ranks go on, until the training is done; then another begins."""
    draw = random.Random(kills)
    prepare(folder)
    check(idrec(folder, 1, "prepare", "one", "finetune.method=none").returncode == 0, "prepare")
    started = time.monotonic()
    check(idrec(folder, 1, "pretrain", "one", "finetune.method=none").returncode == 0, "pretrain")
    longest, expected, run, killed, ranks = time.monotonic() - started, curve(folder / "one"), 0, 0, 2
    while killed < kills:
        run += 1
        done = False
        check(idrec(folder, 1, "prepare", f"run{run}", "finetune.method=none").returncode == 0, "prepare")
        while not done:
            ranks = draw.choice([number for number in (2, 3, 4) if number != ranks])
            told, done = kill_once(folder, f"run{run}", ranks, longest if killed < kills else 1e9, draw)
            killed += not done
            print(f"training {run}: {told}", flush=True)
        found = curve(folder / f"run{run}")
        compare(expected, found, f"run{run}")
        difference = max(abs(found[key]["loss"] / line["loss"] - 1) for key, line in expected.items() if "loss" in line)
        print(f"training {run}: {max(key[1] for key in found)} steps, losses within {difference:.1e} of one process's "
              "that was never killed", flush=True)
    print(f"{killed} kills")


def test_interrupted(folder, expected):
    """A signal to one rank saves the state and ends all of them."""
    process, processes = start_long(folder, 2, "interrupted", "finetune.method=none")
    os.kill(processes.get(1, process.pid), signal.SIGTERM)
    seconds, code, text = end_of(process)
    check(seconds < 30 and code == 130, f"interrupted: after {seconds:.0f} s with status {code}: {text[-600:]}")
    check(text.count("interrupted; what was finished is kept") == 1, f"interrupted: {text[-600:]}")
    result = idrec(folder, 4, "pretrain", "interrupted", "finetune.method=none")
    check("going on after step" in result.stderr, f"interrupted: not gone on with: {result.stderr[-600:]}")
    compare({key: line for key, line in expected.items() if key[0] == "pretrain"}, curve(folder / "interrupted"),
            "interrupted")


def test_failures(folder):
    """What fails at all ranks is told once, with the status of one process."""
    result = idrec(folder, 2, "pretrain", "by2", "pretrain.epoch=3")
    check(result.returncode == 2, f"bad key: status {result.returncode}")
    check(result.stderr.count("pretrain.epoch") == 1 and "idrec: rank 0 on " in result.stderr,
          f"bad key: {result.stderr[-600:]}")
    whole = subprocess.run([IDREC, "info", "by2"], cwd=folder, capture_output=True, text=True)
    result = subprocess.run([MPIEXEC, "-n", "2", IDREC, "info", "by2"], cwd=folder, capture_output=True, text=True)
    check(whole.stdout and result.stdout == whole.stdout, f"info is not rank 0's alone: {result.stdout[-300:]}")


def test_all(folder):
    prepare(folder)
    expected = test_losses(folder)
    test_kinds(folder)
    test_same_bits(folder)
    test_volume(folder)
    test_memory(folder)
    test_trace(folder)
    test_killed(folder, expected)
    test_interrupted(folder, expected)
    test_failures(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=0)
    kills = parser.parse_args().kills
    sys.exit(main((lambda folder: kill_at_random(folder, kills)) if kills else test_all))
