"""A frozen base that ranks share (finetune.shard_base): an adapter that is trained by 2 and by 4 is the one that ranks train who hold
the whole base, bit for bit where they divide a step alike, and has the losses of one process; each rank keeps its part and two layers; what is gathered is
counted, and comes beside what is computed; a killed training goes on with other numbers of ranks, sharded or not.
"""

import json
import os
import shutil
import signal
import subprocess
import sys

from checking import IDREC, check
from ranks import begin, compare, curve, end_of, idrec, main, prepare

CONFIG = """\
name: ranks
data: {path: data.inter}
device: cpu
threads: 1
language_model: {layers: 5, width: 32, heads: 2}
prompts: {random_cuts: 2}
pretrain: {steps: 10, tokens_per_batch: 1000}
finetune: {epochs: 3, tokens_per_batch: 700, accumulate: 3, patience: 0, rank: 4}
recommenders: [{model: popularity}]
"""
SHARDED = "finetune.shard_base=true"
ADAPTER = "language_model/adapter/adapter_model.safetensors"
STATE = "language_model/finetune_state"
# What a step is, and how the base is stored; by how many ranks. A step of 3 batches is divided alike by 2 and by 4.
KINDS = {
    "plain": (2, []),
    "plain4": (4, []),
    "recomputed": (2, ["finetune.recompute=true", "finetune.average=0.9"]),
    "int8": (4, ["finetune.base=int8"]),
    "nf4": (2, ["finetune.base=nf4", "finetune.targets=[q, down]", "finetune.dropout=0.2"]),
    # Fewer sequences in a step than there are ranks, and users than parts of a validation.
    "few": (4, ["finetune.sequences_per_batch=1", "finetune.accumulate=1", "finetune.steps=12"]),
    # Ranks with a batch each, and with two, if the base is sharded; in other parts if it is not.
    "batches4": (4, ["finetune.accumulate=4"]),
    "batches2": (2, ["finetune.accumulate=4"]),
}
# Of some layers two are there from one pass to the next.
BASES = {
    "one": ["language_model.layers=1"],
    "two": ["language_model.layers=2"],
    "three": ["language_model.layers=3", "language_model.key_heads=1", "language_model.dropout=0.1"],
    # Items of several tokens, and so answers in place of rankings.
    "codes": ["language_model.indexing=collaborative"],
}


def make_base(folder, name, *overrides):
    for stage in ("prepare", "pretrain"):
        result = idrec(folder, 1, stage, name, *overrides)
        check(result.returncode == 0, f"{name}: {stage}: {result.stderr[-800:]}")


def finetune(folder, base, ranks, output, *overrides):
    if not (folder / output).exists():
        shutil.copytree(folder / base, folder / output)
    result = idrec(folder, ranks, "finetune", output, *overrides)
    check(result.returncode == 0, f"{output}: {result.stderr[-800:]}")
    return curve(folder / output), result.stderr


def test_kind(folder, base, name, ranks, *overrides, alike=True):
    expected, _ = finetune(folder, base, 1, f"{name}_one", *overrides)
    found, told = finetune(folder, base, ranks, f"{name}{ranks}sharded", *overrides, SHARDED)
    compare(expected, found, f"{name}, {ranks} ranks")
    if not alike:
        return told
    whole, _ = finetune(folder, base, ranks, f"{name}{ranks}", *overrides)
    losses = ("loss", "train_loss", "validation_loss", "ndcg", "recall")
    for key, line in whole.items():
        check(all(found[key].get(loss) == line.get(loss) for loss in losses), f"{name}: {found[key]} instead of {line}")
    one, other = ((folder / run / ADAPTER).read_bytes() for run in (f"{name}{ranks}", f"{name}{ranks}sharded"))
    check(one == other, f"{name}: the adapters of {ranks} ranks with and without a sharded base differ")
    return told


def test_kinds(folder):
    for name, (ranks, overrides) in KINDS.items():
        test_kind(folder, "base", name, ranks, *overrides, alike=not name.startswith("batches"))


def test_bases(folder):
    for name, overrides in BASES.items():
        make_base(folder, f"{name}_base", *overrides)
        test_kind(folder, f"{name}_base", name, 2, *overrides, "finetune.epochs=2")


def test_one_process(folder):
    """Alone there is nothing to share; what is trained is not sharded."""
    _, told = finetune(folder, "base", 1, "alone", SHARDED)
    check("its base" not in told and "two layers" not in told, f"one process: {told[-800:]}")
    one, other = ((folder / run / ADAPTER).read_bytes() for run in ("plain_one", "alone"))
    check(one == other, "one process: another adapter")
    refused = idrec(folder, 1, "finetune", "alone", SHARDED, "finetune.method=full")
    check(refused.returncode == 2 and "finetune.shard_base" in refused.stderr, f"full: {refused.stderr[-300:]}")


def mebibytes(told, arena):
    line = next((line for line in told.splitlines() if line.startswith(f"  {arena} ")), f"{arena} 0.0")
    return float(line.split(arena)[1].split()[0])


def test_memory(folder):
    """Of a base of 6 layers a rank of 4 keeps a quarter, and has room for two layers; without, all of it."""
    model = ["language_model.layers=6", "language_model.width=256", "finetune.steps=2", "finetune.accumulate=2"]
    make_base(folder, "large", *model, "pretrain.steps=1")
    told = {name: finetune(folder, "large", 4, f"large_{name}", *model, "pretrain.steps=1", *overrides)[1]
            for name, overrides in (("whole", []), ("sharded", [SHARDED]))}
    layers = mebibytes(told["whole"], "weights") - mebibytes(told["sharded"], "weights")
    kept, places = (mebibytes(told["sharded"], name) for name in ("its base", "two layers"))
    check(layers > 4, f"the layers take {layers} MiB: {told['whole'][-1500:]}")
    check(abs(kept - layers / 4) < 0.25 and abs(places - layers / 3) < 0.25, f"kept {kept} and {places} MiB of {layers}")
    log = (folder / "large_sharded" / "log.txt").read_text()
    check_volume(log, 4, layers * 2**20)
    check_plan(folder, told["sharded"], log, *model, "pretrain.steps=1", SHARDED)


def check_plan(folder, told, log, *overrides):
    """`idrec plan` tells the same before."""
    result = subprocess.run([IDREC, "plan", "ranks.yaml", *overrides, "--ranks=4", "--link=1", "--device-tflops=1", "--json"],
                            cwd=folder, capture_output=True, text=True)
    check(result.returncode == 0, f"plan: {result.stderr[-500:]}")
    stage = next(stage for stage in json.loads(result.stdout)["stages"] if stage["stage"] == "finetune")
    for part in stage["memory"]:
        if part["name"] in ("weights", "its base", "two layers", "gradients", "its optimizer"):
            check(abs(part["bytes"] / 2**20 - mebibytes(told, part["name"])) < 0.11, f"plan: {part}, {told[-1200:]}")
    planned = sum(stage["exchange"][name] for name in ("sum_bytes", "weight_bytes", "layer_bytes"))
    sent = int(log.split("finetune: rank 0 has sent ")[1].split()[0])
    # The first of two steps gathers two layers more.
    check(planned < sent < 1.15 * planned, f"plan: {planned} bytes a step, {sent} were sent")


def check_volume(log, ranks, layers):
    """A rank sends its part of each layer to all others, forward and backward, but for two that are there."""
    line = next(line for line in log.splitlines() if "finetune: rank 0 has sent" in line)
    counted, told = (int(line.split(before)[1].split()[0]) for before in ("has sent ", "scaling.md says "))
    check(abs(counted / told - 1) < 0.001, f"the model is wrong: {line}")
    # A step of two batches is half a batch for each rank; the first of two steps finds other layers there.
    least, most = ((ranks - 1) / ranks * layers * gathers / 6 for gathers in (8, 10.5))
    check(least < counted < most + 2e5, f"{counted} bytes a step, not {least:.0f} to {most:.0f}: {line}")


def test_trace(folder):
    """Layers come while others are computed."""
    more = ["finetune.steps=3", "finetune.tokens_per_batch=2000"]
    finetune(folder, "base", 2, "traced", SHARDED, *more, "--trace=trace.json")
    spans = [event for event in json.loads((folder / "trace.json").read_text())["traceEvents"] if event["ph"] == "X"]
    for rank in (0, 1):
        own = [span for span in spans if span["pid"] == rank]
        names = [span["name"] for span in own]
        for layer in range(5):
            check(f"all-gather, layer {layer}" in names and f"wait for layer {layer}" in names, f"rank {rank}: {set(names)}")
        gathers = [span for span in own if span["name"].startswith("all-gather, layer ")]
        check(all(span["args"]["bytes"] > 0 for span in gathers), "gathers without bytes")
        computed = [span for span in own if span["name"].startswith("backward, layer")]
        beside = sum(max(0, min(a["ts"] + a["dur"], b["ts"] + b["dur"]) - max(a["ts"], b["ts"])) for a in computed for b in gathers)
        check(beside > 0, f"rank {rank} gathers nothing while it computes")
        print(f"rank {rank}: {beside * 1e-3:.2f} ms of {sum(b['dur'] for b in gathers) * 1e-3:.2f} ms of gathers beside the backward pass")


def test_killed(folder):
    """Another number of ranks goes on, with a base that is sharded or not."""
    longer = ["finetune.epochs=40"]
    expected, _ = finetune(folder, "base", 1, "long1", *longer, SHARDED)
    shutil.copytree(folder / "base", folder / "killed")
    metrics = folder / "killed" / "metrics.jsonl"
    for ranks, kind in ((2, signal.SIGKILL), (4, signal.SIGTERM)):
        before = metrics.stat().st_size
        saved = lambda output: (output / STATE / "DONE").exists() and metrics.stat().st_size > before + 400
        process, processes = begin(folder, ranks, "finetune", "killed", saved, *longer, SHARDED)
        os.kill(processes.get(1, process.pid), kind)
        seconds, code, text = end_of(process)
        check(seconds < 30 and code != 0, f"killed: after {seconds:.0f} s with status {code}: {text[-600:]}")
    found, told = finetune(folder, "base", 3, "killed", *longer, SHARDED)
    check("going on after step" in told, f"killed: not gone on with: {told[-800:]}")
    compare(expected, found, "killed")


def test_all(folder):
    prepare(folder, CONFIG)
    make_base(folder, "base")
    test_kinds(folder)
    test_bases(folder)
    test_one_process(folder)
    test_memory(folder)
    test_trace(folder)
    test_killed(folder)


if __name__ == "__main__":
    sys.exit(main(test_all))
