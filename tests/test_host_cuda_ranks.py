"""Ranks with a GPU each, on emulated GPUs and a stand-in for NCCL (stand_in_nccl.c): a training by 2 and by 4 has the losses of
one by one process, and so has a fit of a recommender that they do together, a gradient goes through NCCL, GPUs that are too few are refused, and what the library says is told.
"""

import json
import os
import subprocess
import sys
import time

from checking import SOURCE, check
from ranks import command, compare, curve, main, prepare, train
from test_ranks_fits import losses

IDREC = os.environ.get("IDREC_HOST_CUDA", str(SOURCE / "build/release/tests/idrec_host_cuda"))
LIBRARY = os.environ.get("IDREC_STAND_IN_NCCL", str(SOURCE / "build/release/tests/stand_in_nccl"))
CONFIG = """\
name: ranks
data: {path: data.inter}
device: cuda
threads: 1
language_model: {layers: 1, width: 16, heads: 2, key_heads: 1}
prompts: {random_cuts: 1, length: 32}
pretrain: {steps: 12, tokens_per_batch: 256}
finetune: {steps: 6, tokens_per_batch: 256, accumulate: 2, rank: 4}
recommenders: [{model: popularity}]
"""

FITS = ["experiment={arms: [original], seeds: 1, divide_fits: true}", "evaluate.k=[5]",
        "recommenders=[{model: bpr_mf, optimizer: adam, width: 8, batch: 50, epochs: 2, evaluate_every: 1},"
        " {model: lightgcn, width: 8, layers: 2, batch: 101, epochs: 2, evaluate_every: 1},"
        " {model: sasrec, width: 8, layers: 1, loss: gbce, negatives: 9, sequences: 9, epochs: 2, evaluate_every: 1}]"]

# Of 2 ranks, in the first step: one call has made the weights the same, six have summed the gradients of three buckets, and
# this one sums the norm.
NORM_CALL = 8


def idrec(folder, ranks, stage, output, *overrides, gpus=4, **environment):
    words = command(ranks, stage, output, *overrides, program=IDREC)
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "LD_LIBRARY_PATH": LIBRARY, "HOST_CUDA_GPUS": str(gpus), **environment})


def test_losses(folder):
    expected = train(folder, 1, "one", call=idrec)
    check(len(expected) > 2, f"only {len(expected)} records")
    for ranks in (2, 4):
        compare(expected, train(folder, ranks, f"by{ranks}", call=idrec), f"{ranks} ranks")
        manifest = json.loads((folder / f"by{ranks}" / "manifest.json").read_text())
        check(manifest["device"]["ranks"] == ranks, f"manifest: {manifest['device']}")
        check("emulated" in manifest["device"]["description"], f"manifest: {manifest['device']}")


def test_sharded_base(folder):
    """The frozen base divided: the adapter of ranks that hold all of it, bit for bit."""
    layers = ["language_model.layers=3", "finetune.steps=4", "pretrain.steps=2", "finetune.base=int8"]
    for ranks, output, *more in ((2, "whole"), (2, "sharded", "finetune.shard_base=true")):
        train(folder, ranks, output, *layers, *more, call=idrec)
    whole, sharded = ((folder / output / "language_model" / "adapter" / "adapter_model.safetensors").read_bytes()
                      for output in ("whole", "sharded"))
    check(whole == sharded, "the adapters with and without a sharded base differ")
    compare(curve(folder / "whole"), curve(folder / "sharded"), "sharded base")
    log = (folder / "sharded" / "log.txt").read_text()
    line = next(line for line in log.splitlines() if "finetune: rank 0 has sent" in line)
    counted, told = (int(line.split(before)[1].split()[0]) for before in ("has sent ", "scaling.md says "))
    check(abs(counted / told - 1) < 0.01, f"the model is wrong: {line}")


def test_volume(folder):
    """What a step sends, counted and by the model: (ranks - 1) / ranks of the gradients and of the weights."""
    log = (folder / "by4" / "log.txt").read_text()
    line = next(line for line in log.splitlines() if "pretrain: rank 0 has sent" in line)
    counted, told = (int(line.split(before)[1].split()[0]) for before in ("has sent ", "scaling.md says "))
    weights = (folder / "by4" / "language_model" / "base" / "model.safetensors").stat().st_size
    check(0.8 < counted / (1.5 * weights) < 1.1, f"{counted} bytes a step of {weights}: {line}")
    check(abs(counted / told - 1) < 0.01, f"the model is wrong: {line}")


def test_fits(folder):
    """Rows come from one rank each, so bpr_mf and lightgcn have the bits of one process; NCCL orders the sums of sasrec."""
    for ranks in (1, 4):
        for stage in ("prepare", "train"):
            result = idrec(folder, ranks, stage, f"fits{ranks}", *FITS)
            check(result.returncode == 0, f"fits by {ranks}: {stage}: {result.stderr[-800:]}")
    expected = losses(folder / "fits1")
    check(len(expected) == 3, f"fits: {sorted(map(str, expected))}")
    found = losses(folder / "fits4")
    for name in expected:
        fit = name.parent
        one, other = ((folder / run / fit / "top_k.tsv").read_bytes() for run in ("fits1", "fits4"))
        check(fit.parts[1] == "sasrec" or (one == other and expected[name] == found[name]), f"fits: {fit} differs")
        for a, b in zip(expected[name], found[name]):
            check(abs(a["loss"] / b["loss"] - 1) < 1e-5, f"fits: {fit}: {b} instead of {a}")
    log = (folder / "fits4" / "log.txt").read_text()
    check(log.count("bytes an epoch; the model of docs/scaling.md says") == 3, f"fits: {log[-900:]}")


def refuse(result, name, *words, code=1):
    check(result.returncode == code, f"{name}: status {result.returncode}, {result.stderr[-600:]}")
    lines = [line for line in result.stderr.splitlines() if line.startswith("idrec: ")]
    check(any(all(word in line for word in words) for line in lines), f"{name}: no {words} in {lines}")


def test_refusals(folder):
    refuse(idrec(folder, 4, "pretrain", "by4", gpus=2), "few GPUs", "there are 4 ranks on ", "but only 2 GPUs", code=2)
    refuse(idrec(folder, 2, "pretrain", "by2", "device=cuda:1"), "one GPU", "device cuda:1 is one GPU", code=2)


def test_faults(folder):
    """A call that is refused at one rank ends all of them, with the words of the library; the next start goes on."""
    more = ("pretrain.steps=20", "finetune.method=none")
    check(idrec(folder, 1, "prepare", "broken", *more).returncode == 0, "broken: prepare")
    for rank in (0, 1):
        result = idrec(folder, 2, "pretrain", "broken", *more, STAND_IN_NCCL_FAULT=f"{rank}:fail:{NORM_CALL}")
        refuse(result, f"rank {rank} fails", f"rank {rank} on ",
               "all-reduce by NCCL: unhandled system error: refused on purpose")
    result = idrec(folder, 2, "pretrain", "broken", *more)
    check(result.returncode == 0, f"after a failure: {result.stderr[-600:]}")


def test_waits(folder):
    """A call that never ends, or that NCCL has lost a rank in, ends the job. The first is told while it lasts."""
    more = ("pretrain.steps=20", "finetune.method=none")
    check(idrec(folder, 1, "prepare", "waits", *more).returncode == 0, "waits: prepare")
    for fault, words in ((f"1:hang:{NORM_CALL}", ("all-reduce between GPUs has not ended for ", "; all ranks end")),
                         (f"1:lost:{NORM_CALL}", ("rank 1 on ", "all-reduce between GPUs failed by NCCL: remote process exited"))):
        started = time.monotonic()
        result = idrec(folder, 2, "pretrain", "waits", *more, STAND_IN_NCCL_FAULT=fault,
                       IDREC_GPU_SILENCE_SECONDS="3")
        refuse(result, fault, *words)
        check(time.monotonic() - started < 60, f"{fault}: ended after {time.monotonic() - started:.0f} s")
    refuse(idrec(folder, 2, "pretrain", "waits", IDREC_GPU_SILENCE_SECONDS="soon"), "limit",
           "IDREC_GPU_SILENCE_SECONDS is soon; it takes seconds", code=2)


def test_library(folder):
    """`idrec devices` names NCCL; an incomplete library is told."""
    def ranks(library):
        result = subprocess.run([IDREC, "devices", "--json"], capture_output=True, text=True,
                                env={**os.environ, "LD_LIBRARY_PATH": library})
        return json.loads(result.stdout)["ranks"]["gpus"]

    check(ranks(LIBRARY) == "NCCL 2.28.99", f"devices: {ranks(LIBRARY)}")
    empty = folder / "empty"
    empty.mkdir()
    subprocess.run(["gcc", "-shared", "-o", empty / "libnccl.so.2", "-x", "c", "/dev/null"], check=True)
    check("NCCL is not there: " in ranks(str(empty)) and "ncclGetVersion" in ranks(str(empty)), f"devices: {ranks(str(empty))}")
    refuse(idrec(folder, 2, "pretrain", "by2", LD_LIBRARY_PATH=str(empty)), "incomplete library",
           "GPUs of several ranks need NCCL: ", "ncclGetVersion")


def test_all(folder):
    os.environ["OMP_NUM_THREADS"] = "1"
    prepare(folder, CONFIG, users=60, items=40, interactions=10)
    test_losses(folder)
    test_sharded_base(folder)
    test_volume(folder)
    test_fits(folder)
    test_refusals(folder)
    test_faults(folder)
    test_waits(folder)
    test_library(folder)


if __name__ == "__main__":
    sys.exit(main(test_all))
