"""A run that is killed with SIGKILL at random moments and started again ends with the results of one that never was.

ctest kills a small run a few times; `test_kill.py --kills 20` is the long form. Needs h5diff (Debian: hdf5-tools).
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, lacks, synthesize

# What measures time or memory, and nothing else, may differ between two runs.
MEASURED = {"seconds", "cost", "efficiency", "peak_memory_bytes", "tokens_per_second"}

CONFIG = """
name: kill
seed: 7
data: {{path: {data}, split: {{method: random, ratios: [0.8, 0.1, 0.1]}}}}
language_model: {{layers: 2, width: 32, heads: 2}}
pretrain: {{epochs: 12, tokens_per_batch: 1024}}
finetune: {{epochs: 2, tokens_per_batch: 1024}}
generate: {{method: sampling, contexts: 2, samples: 4, max_items: 10}}
augment: {{per_user: [1, 5]}}
recommenders:
- {{model: bpr_mf, width: 16, epochs: 40}}
- {{model: lightgcn, width: 16, layers: 2, epochs: 20}}
experiment:
  seeds: 2
  arms: [original, augmented, control.random, control.popularity, control.itemknn, control.self, control.generator,
         control.fusion]
"""


def command(config, folder):
    return [IDREC, "run", str(config), f"output={folder}"]


def run_whole(config, folder):
    started = time.monotonic()
    finished = subprocess.run(command(config, folder), capture_output=True, text=True, timeout=1200)
    if finished.returncode != 0:
        sys.exit(f"the run failed with status {finished.returncode}: {finished.stderr[-2000:]}")
    return time.monotonic() - started


def state_of(folder):
    """How far the run is: the stages that its manifest lists as done."""
    try:
        stages = json.loads((folder / "manifest.json").read_text()).get("stages", {})
    except (FileNotFoundError, json.JSONDecodeError):
        return "before the manifest"
    names = [stage["stage"] for stage in stages] if isinstance(stages, list) else list(stages)
    return "after " + (names[-1] if names else "nothing")


def run_killed(config, folder, kills, longest, generator):
    """Starts the run again and again, killing it; returns the number of kills that hit it alive."""
    hits = 0
    for _ in range(kills):
        process = subprocess.Popen(command(config, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        delay = generator.uniform(0.0, longest)
        try:
            process.wait(timeout=delay)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            hits += 1
            print(f"  killed after {delay:.2f} s, {state_of(folder)}", flush=True)
    return hits


def without_measured(value):
    if isinstance(value, dict):
        return {key: without_measured(entry) for key, entry in value.items() if key not in MEASURED}
    if isinstance(value, list):
        return [without_measured(entry) for entry in value]
    return value


def shapes(path):
    """Objects, types, shapes and attributes of an HDF5 file, which h5diff may pass over."""
    header = subprocess.run(["h5dump", "-H", path], capture_output=True, text=True, check=True).stdout
    return header.split("\n", 1)[1]


def differences(reference, other):
    found = []
    results = [without_measured(json.loads((folder / "results.json").read_text())) for folder in (reference, other)]
    if results[0] != results[1]:
        found.append("results.json differs")
    names = [{path.relative_to(folder) for path in folder.rglob("*") if path.suffix in {".h5", ".tsv", ".safetensors"}}
             for folder in (reference, other)]
    if names[0] != names[1]:
        found.append(f"other files: {sorted(map(str, names[0] ^ names[1]))}")
    for name in sorted(names[0] & names[1]):
        if name.suffix == ".h5":
            compared = subprocess.run(["h5diff", reference / name, other / name], capture_output=True, text=True)
            if compared.returncode != 0 or shapes(reference / name) != shapes(other / name):
                found.append(f"{name}: {compared.stdout.strip()[:200] or compared.stderr.strip()[:200]}")
        elif (reference / name).read_bytes() != (other / name).read_bytes():
            found.append(f"{name} differs")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if lacks("h5diff"):
        return 77
    generator = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        data, config = scratch / "data.inter", scratch / "kill.yaml"
        synthesize(data, "--users=150", "--items=120", "--seed=5")
        config.write_text(CONFIG.format(data=data))
        reference = scratch / "reference"
        seconds = run_whole(config, reference)
        print(f"never killed: {seconds:.1f} s", flush=True)
        hits, rounds = 0, 0
        while hits < arguments.kills:
            rounds += 1
            killed = scratch / f"killed-{rounds}"
            hits += run_killed(config, killed, arguments.kills - hits, seconds / 2, generator)
            run_whole(config, killed)
            found = differences(reference, killed)
            if found:
                print("\n".join(found))
                return 1
        print(f"{hits} kills over {rounds} runs: results, HDF5 contents and lists are identical")
    return 0


if __name__ == "__main__":
    sys.exit(main())
