"""The whole experiment on the emulated GPU (idrec_host_cuda: the kernels' own source on the host): figures equal to those of
the CPU within a tolerance, the same bits in two runs, the same bits after a kill; what `fast` changes; what a GPU that is
missing or full says.
Needs h5diff (Debian: hdf5-tools).
"""

import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from checking import SOURCE, check, check_refusal, lacks, status, synthesize
from test_kill import differences

IDREC = os.environ.get("IDREC_HOST_CUDA", str(SOURCE / "build/release/tests/idrec_host_cuda"))
CONFIG = """\
name: tiny
data: {path: data.inter}
language_model: {layers: 1, width: 16, heads: 2, key_heads: 1}
prompts: {random_cuts: 1, length: 32}
pretrain: {steps: 6, tokens_per_batch: 256}
finetune: {steps: 4, tokens_per_batch: 256, rank: 4}
generate: {contexts: 1, max_items: 3}
augment: {per_user: [2], use: [positives], select_seeds: 2}
recommenders:
- {model: bpr_mf, width: 8, epochs: 3, batch: 128}
- {model: bpr_mf, width: 8, epochs: 3, optimizer: sgd}
- {model: lightgcn, width: 8, layers: 2, epochs: 3, batch: 128}
experiment: {seeds: 2, arms: [original, augmented, control.self]}
evaluate: {k: [5, 10]}
"""
SAMPLING = ["generate.method=sampling", "generate.samples=2"]
METRIC_TOLERANCE = 0.02  # near ties may change places
LOSS_TOLERANCE, FAST_LOSS_TOLERANCE, BF16_LOSS_TOLERANCE = 1e-3, 5e-3, 2e-2


def idrec(folder, command, device, output, *overrides, environment=None):
    words = [IDREC, command, "tiny.yaml", f"device={device}", f"output={output}", *overrides]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**os.environ, **(environment or {})})


def run(folder, device, output, *overrides, command="run"):
    started = time.monotonic()
    result = idrec(folder, command, device, output, *overrides)
    if result.returncode != 0:
        sys.exit(f"{command} on {device} failed with status {result.returncode}: {result.stderr[-1500:]}")
    print(f"{output}: {command} on {device} in {time.monotonic() - started:.1f} s", flush=True)


def load(folder, name="results.json"):
    return json.loads((folder / name).read_text())


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["stage"], key, value) for line in lines for key, value in line.items()
            if key.endswith("loss") and value is not None]


def check_losses(cpu, cuda, tolerance):
    found = [losses(folder) for folder in (cpu, cuda)]
    check(len(found[0]) > 2 and len(found[0]) == len(found[1]), f"as many losses: {[len(each) for each in found]}")
    for (stage, key, expected), (_, _, value) in zip(*found):
        check(math.isclose(value, expected, rel_tol=tolerance), f"{cuda.name} {stage} {key}: {value}, on the CPU {expected}")


def test_figures(folder):
    check_losses(folder / "cpu", folder / "cuda", LOSS_TOLERANCE)
    results = [load(folder / "cpu"), load(folder / "cuda")]
    runs = [{(run["recommender"], run["arm"], run["seed"]): run["metrics"] for run in each["runs"]} for each in results]
    check(runs[0].keys() == runs[1].keys() and len(runs[0]) == 18, f"the same runs: {runs[0].keys() ^ runs[1].keys()}")
    for which, metrics in runs[0].items():
        for name, expected in metrics.items():
            value = runs[1][which][name]
            check(abs(value - expected) <= METRIC_TOLERANCE, f"{which} {name}: {value}, on the CPU {expected}")
    requested = [each["generation"]["requested"] for each in results]
    check(requested[0] == requested[1] > 0, f"generation: {requested}")


def test_bf16(folder):
    for stage in ("prepare", "pretrain", "finetune"):
        run(folder, "cuda", "bf16", "language_model.precision=bf16", command=stage)
    check_losses(folder / "cpu", folder / "bf16", BF16_LOSS_TOLERANCE)
    check(losses(folder / "cuda")[:2] != losses(folder / "bf16")[:2], "bf16 rounds")


def inputs(folder):
    return {stage: record["inputs"] for stage, record in load(folder, "manifest.json")["stages"].items()}


def test_fast(folder):
    """Other figures on the GPU, in stages that run again; the same on the CPU; a word about it on both."""
    shutil.copytree(folder / "cuda", folder / "fast-cuda")
    run(folder, "cuda", "fast-cuda", "fast=true")
    for stage in ("prepare", "pretrain"):
        run(folder, "cpu", "fast-cpu", "fast=true", command=stage)
    for output in ("fast-cpu", "fast-cuda"):
        check(load(folder / output, "manifest.json")["device"]["fast"], f"manifest.json of {output}")
    check((folder / "fast-cpu/log.txt").read_text().count("fast: changes nothing on the CPU") == 1, "log.txt of the CPU")
    found, expected = losses(folder / "fast-cpu"), losses(folder / "cpu")
    check(found == expected[: len(found)] and len(found) > 2, "fast on the CPU: the same losses")
    check((folder / "fast-cuda/log.txt").read_text().count("fast: products of f32 by TF32") == 1, "log.txt of the GPU")
    before, after = inputs(folder / "cuda"), inputs(folder / "fast-cuda")
    for stage in ("pretrain", "finetune", "generate", "train"):
        check(before[stage] != after[stage], f"fast: {stage} runs again")
    check(before["prepare"] == after["prepare"], "fast: prepare stays as it is")
    latest = losses(folder / "fast-cuda")[len(losses(folder / "cuda")) :]
    differing = 0
    for (stage, key, expected), (_, _, value) in zip(losses(folder / "cuda"), latest):
        differing += value != expected
        check(math.isclose(value, expected, rel_tol=FAST_LOSS_TOLERANCE), f"fast {stage} {key}: {value}, not {expected}")
    check(differing > 2, f"fast rounds: {differing} losses of {len(latest)} differ")


def test_names(folder):
    for entry in load(folder / "cuda")["cost"]:
        check(entry["device"] == "cuda:0 (emulated on the host)", f"cost of {entry['stage']} on {entry['device']}")
        works = entry["stage"] in {"pretrain", "finetune", "generate", "train"}
        check(entry["peak_device_memory_bytes"] > 0 or not works, f"device memory of {entry['stage']}")
    for entry in load(folder / "cpu")["cost"]:
        check(entry["device"] == "cpu" and entry["peak_device_memory_bytes"] is None, f"cost of {entry['stage']}")
    manifest = load(folder / "cuda", "manifest.json")
    check(manifest["device"]["description"] == "cuda:0 (emulated on the host)", f"manifest: {manifest['device']}")
    check("device: cuda:0 (emulated on the host)" in (folder / "cuda" / "log.txt").read_text(), "log.txt names the GPU")


def test_bits(folder):
    run(folder, "cuda:0", "again")
    for difference in differences(folder / "cuda", folder / "again"):
        check(False, f"two runs: {difference}")


def test_kill(folder):
    """Killed while it generates, started again, killed while recommenders train, and started again."""
    output = folder / "killed"
    for stage in ("generate", "train"):
        process = subprocess.Popen([IDREC, "run", "tiny.yaml", "device=cuda", "output=killed"], cwd=folder,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_stage(process, output, stage)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(folder, "cuda", "killed")
    for difference in differences(folder / "cuda", output):
        check(False, f"killed twice: {difference}")


def wait_for_stage(process, output, stage):
    while process.poll() is None:
        try:
            if stage in load(output, "manifest.json")["stages"]:
                return
        except (FileNotFoundError, json.JSONDecodeError):
            pass
        time.sleep(0.02)
    sys.exit(f"the run that was to be killed in {stage} ended with status {process.returncode}")


def test_sampling(folder):
    found = []
    for device in ("cpu", "cuda"):
        shutil.copytree(folder / device, folder / f"sampling-{device}")
        run(folder, device, f"sampling-{device}", *SAMPLING, command="generate")
        text = subprocess.run(["h5dump", "-d", "/user", "-d", "/item", "-y", folder / f"sampling-{device}" / "generated.h5"],
                              capture_output=True, text=True, check=True).stdout
        found.append(text.split("DATASET", 1)[1])
    check(found[0] == found[1], "what is sampled on the GPU is what is sampled on the CPU")


def test_recommend(folder):
    lists = []
    for device in ("cpu", "cuda"):
        result = subprocess.run([IDREC, "recommend", "cuda", "--recommender=lightgcn", "--k=5", f"--device={device}"],
                                cwd=folder, capture_output=True, text=True, timeout=120)
        check(result.returncode == 0, f"recommend on {device}: {result.stderr[-300:]}")
        lists.append([line.split("\t")[:3] for line in result.stdout.splitlines()])
    same = sum(a == b for a, b in zip(*lists))
    check(len(lists[0]) == len(lists[1]) > 0 and same >= 0.98 * len(lists[0]), f"recommend: {same} of {len(lists[0])} alike")


def test_refusals(folder):
    for fault, word in (("no-driver", "driver"), ("old-driver", "CUDA 11.2"), ("no-gpu", "GPU"),
                        ("no-machine-code", "compute capability")):
        check_refusal(idrec(folder, "prepare", "cuda", "none", environment={"HOST_CUDA_FAULT": fault}), 1, word, "device cuda")
    result = idrec(folder, "prepare", "auto", "auto", environment={"HOST_CUDA_FAULT": "no-gpu"})
    check(result.returncode == 0, f"auto without a GPU: {result.stderr[-300:]}")
    check("no GPU" in (folder / "auto" / "log.txt").read_text(), "auto without a GPU says so in the log")
    check_refusal(idrec(folder, "prepare", "cuda:7", "none"), 2, "cuda:7")
    check(not (folder / "none").exists(), "a refused device leaves no folder")
    check_refusal(idrec(folder, "pretrain", "cuda", "auto", "pretrain.tokens_per_batch=100000",
                        environment={"HOST_CUDA_MEMORY_MIB": "16"}),
                  1, "out of memory on cuda:0", "weights 0.", "activations", "MiB are free", "lower")


def test_devices():
    listed = json.loads(subprocess.run([IDREC, "devices", "--json"], capture_output=True, text=True, check=True).stdout)
    gpu = listed["cuda"]["devices"][0]
    check(listed["cuda"]["available"] and gpu["device"] == "cuda:0" and gpu["compute_capability"] == "8.0", f"devices: {gpu}")
    text = subprocess.run([IDREC, "devices"], capture_output=True, text=True, check=True).stdout
    check("cuda:0: emulated on the host, compute capability 8.0" in text, f"devices: {text}")


def main():
    if lacks("h5diff"):
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        synthesize(folder / "data.inter", "--users=40", "--items=36", "--interactions=10", "--seed=5")
        (folder / "tiny.yaml").write_text(CONFIG)
        test_devices()
        test_refusals(folder)
        run(folder, "cpu", "cpu")
        run(folder, "cuda", "cuda")
        for test in (test_figures, test_bf16, test_fast, test_names, test_bits, test_sampling, test_recommend, test_kill):
            test(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
