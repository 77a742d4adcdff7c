"""The command line: help that teaches, statuses, one-line errors, the lock, skipped and rerun stages, an interrupt."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, SOURCE, check, check_refusal, status, synthesize

STAGES = "prepare pretrain finetune generate augment train evaluate report".split()
COMMANDS = ["run", *STAGES, *"config synthesize info reproduce tune recommend export merge score devices".split()]
CONFIG = """\
name: small
data: {path: data.inter}
language_model: {layers: 1, width: 16, heads: 2}
prompts: {random_cuts: 1}
pretrain: {epochs: 1}
finetune: {epochs: 1}
generate: {contexts: 1, max_items: 5}
recommenders: [{model: popularity}]
experiment: {seeds: 2}
"""


def idrec(*arguments, folder=None):
    return subprocess.run([IDREC, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120)


def test_help():
    overview = idrec("--help")
    check(overview.returncode == 0 and not overview.stderr, "--help")
    for name in COMMANDS:
        check(f"\n  {name} " in overview.stdout, f"--help lists {name}")
        text = idrec(name, "--help")
        check(text.returncode == 0 and f"idrec {name}" in text.stdout, f"{name} --help")
        check("Examples:" in text.stdout, f"{name} --help has examples")
        examples = text.stdout.split("Examples:\n")[-1].split("\n\n")[0].splitlines()
        check(all(line.startswith("  ") for line in examples), f"{name} --help: an example is wrapped: {examples}")
    version = idrec("--version")
    check(version.returncode == 0 and version.stdout.startswith("idrec "), "--version")


def test_usage(folder):
    check_refusal(idrec(), 2, "--help")
    check_refusal(idrec("prepair"), 2, "prepare")
    check_refusal(idrec("xyzzyxyzzy"), 2, "xyzzy")
    check_refusal(idrec("run"), 2, "CONFIG")
    check_refusal(idrec("run", "c.yaml", "--fast"), 2, "--fast")
    check_refusal(idrec("info"), 2, "PATH")
    check_refusal(idrec("info", "a", "b"), 2, "b")
    check_refusal(idrec("config"), 2, "CONFIG")
    check_refusal(idrec("recommend", "x"), 2, "--recommender")
    check_refusal(idrec("recommend", "x", "--k"), 2, "--k")
    check_refusal(idrec("recommend", "x", "--recommender=y", "--k=none"), 2, "--k=none")
    check_refusal(idrec("synthesize", "out", "--users=-3"), 2, "--users")
    check_refusal(idrec("run", folder / "none.yaml"), 2, "none.yaml")
    check_refusal(idrec("run", "small.yaml", "name=../up", folder=folder), 2, "name")
    check_refusal(idrec("run", "small.yaml", "data.path=none.csv", "output=lost", folder=folder), 1, "none.csv")
    check_refusal(idrec("info", "none", folder=folder), 1, "none")
    check_refusal(idrec("info", "small.yaml", folder=folder), 1, "small.yaml")
    check_refusal(idrec("train", "small.yaml", "output=empty", folder=folder), 1, "prepare")


def test_config(folder):
    resolved = idrec("config", "small.yaml", "seed=9", folder=folder)
    check(resolved.returncode == 0 and "\nseed: 9\n" in resolved.stdout, "config prints the override")
    again = folder / "again.yaml"
    again.write_text(resolved.stdout)
    check(idrec("config", again).stdout == resolved.stdout, "config of a resolved configuration is itself")
    ease = idrec("config", "small.yaml", "recommenders=[{model: ease}]", folder=folder).stdout
    check("recommenders:\n  - model: ease\n    regularization: 200\nexperiment:" in ease,
          f"config prints the settings that a recommender reads: {ease}")
    reference = idrec("config", "--reference").stdout
    check(reference == (SOURCE / "docs" / "configuration.md").read_text(), "docs/configuration.md is up to date")
    for path in sorted(SOURCE.glob("configs/**/*.yaml")):
        result = idrec("config", path)
        check(result.returncode == 0, f"{path.name}: {result.stderr}")


def test_devices():
    devices = json.loads(idrec("devices", "--json").stdout)
    check(devices["cpu"]["available"] and devices["cpu"]["processors"] >= 1, "devices names the processor")
    cuda = devices["cuda"]
    check(cuda["build"], "devices says what was built in")
    check(bool(cuda["devices"]) if cuda["available"] else bool(cuda["reason"]), f"devices names GPUs, or why not: {cuda}")
    text = idrec("devices").stdout
    check(f"cuda: {cuda['build']}" in text, f"devices for people: {text}")
    check(all(gpu["device"] in text for gpu in cuda["devices"]) and cuda.get("reason", "") in text, f"devices: {text}")


def states(result):
    """What each stage said: {"prepare": "done", "pretrain": "up to date", ...}."""
    said = {}
    for line in result.stderr.splitlines():
        name, _, text = line.partition(": ")
        if text == "up to date" or text.startswith("done in "):
            said[name] = text[:4]
    return said


def test_run(folder):
    stages = STAGES
    first = idrec("run", "small.yaml", "output=out", folder=folder)
    check(first.returncode == 0, f"run: {first.stderr[-500:]}")
    check(states(first) == dict.fromkeys(stages, "done"), f"every stage is done: {states(first)}")
    check("report: out/report.html" in first.stdout, "run ends with the path of the report")
    report = (folder / "out" / "report.md").read_text()
    check("| popularity, all cuts | original | augmented |" in report and "| recall@10 | " in report, "the report has every cut")
    second = idrec("run", "small.yaml", "output=out", folder=folder)
    check(states(second) == dict.fromkeys(stages, "up t"), f"every stage is skipped: {states(second)}")
    third = idrec("run", "small.yaml", "output=out", "experiment.seeds=3", folder=folder)
    check(states(third) == {**dict.fromkeys(stages[:5], "up t"), **dict.fromkeys(stages[5:], "done")},
          f"a setting of train reruns train and what follows: {states(third)}")
    (folder / "out" / "generated.h5").unlink()
    fourth = idrec("run", "small.yaml", "output=out", "experiment.seeds=3", folder=folder)
    check(states(fourth)["generate"] == "done" and states(fourth)["train"] == "up t",
          f"a lost artefact is made again, and what follows from the same contents is kept: {states(fourth)}")
    described = (folder / "out" / "config.yaml").read_text()
    check_refusal(idrec("report", "small.yaml", "output=out", "data.k_core=2", folder=folder), 1, "prepare")
    check((folder / "out" / "config.yaml").read_text() == described, "a refused command leaves config.yaml as it was")
    alone = idrec("pretrain", "small.yaml", "output=out", folder=folder)
    check(states(alone) == {"pretrain": "up t"}, f"a stage alone: {states(alone)}")

    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    check(set(manifest["stages"]) == set(stages), "the manifest lists the stages")
    for name, record in manifest["stages"].items():
        check(record["complete"] and record["cost"]["seconds"] > 0 and record["cost"]["peak_memory_bytes"] > 1e6,
              f"cost of {name}: {record['cost']}")
    check(manifest["program"]["version"] and manifest["host"]["name"] and manifest["seeds"]["seed"] == 1, "the manifest")
    for path in ("out", "out/dataset.h5", "out/language_model/base", "out/language_model/base/model.safetensors"):
        described = idrec("info", path, "--json", folder=folder)
        check(described.returncode == 0 and json.loads(described.stdout)["kind"], f"info {path}: {described.stderr}")
        check(idrec("info", path, folder=folder).stdout, f"info {path} for people")
    models = json.loads(idrec("info", "out", "--json", folder=folder).stdout)["recommenders"]
    check(set(models) == {"popularity"} and models["popularity"]["original"] == [1, 2, 3]
          and len(models["popularity"]) == 7, f"info lists the trained models: {models}")
    original = idrec("recommend", "out", "--recommender=popularity", "--arm=original", "--seed=2", folder=folder).stdout
    check(original, "recommend prints lists")
    augmented = idrec("recommend", "out", "--recommender=popularity", folder=folder).stdout
    check(augmented == idrec("recommend", "out", "--recommender=popularity", "--arm=augmented", "--seed=1",
                             folder=folder).stdout, "recommend takes the arm augmented and the lowest seed")
    check(idrec("recommend", "out", "--recommender=popularity", "--device=cpu", folder=folder).stdout, "recommend on the CPU")
    check_refusal(idrec("recommend", "out", "--recommender=popularity", "--device=tpu", folder=folder), 2, "device tpu")
    device = manifest["device"]["description"]
    check({record["cost"]["device"] for record in manifest["stages"].values()} == {device}, "costs name the device")
    named = f"device: {device}, {manifest['device']['threads']} threads"
    check((folder / "out" / "log.txt").read_text().count(named) == 1, "log.txt names the device once")
    changed = idrec("prepare", "small.yaml", "output=out", "data.k_core=6", folder=folder)
    check(states(changed) == {"prepare": "done"}, f"prepare with another core: {changed.stderr}")
    check_refusal(idrec("recommend", "out", "--recommender=popularity", folder=folder), 1, "results of train")


def test_original_alone(folder):
    """Nothing but the original arm needs no language model."""
    alone = ("experiment.arms=[original]", "output=alone")
    first = idrec("run", "small.yaml", *alone, folder=folder)
    check(states(first) == dict.fromkeys(("prepare", "train", "evaluate", "report"), "done"), f"alone: {states(first)}")
    results = json.loads((folder / "alone" / "results.json").read_text())
    check(len(results["runs"]) == 2 and "generation" not in results, f"alone: {list(results)}")
    check("original data alone" in (folder / "alone" / "report.md").read_text(), "alone: the report says so")
    more = idrec("run", "small.yaml", "output=alone", folder=folder)
    check(states(more) == {**dict.fromkeys(STAGES, "done"), "prepare": "up t"}, f"with more arms: {states(more)}")
    refused = json.loads((folder / "alone" / "results.json").read_text())["generation"]["rejected"]
    check(set(refused) == {"catalogue", "seen", "duplicate"}, f"only the filters of the configuration are listed: {refused}")


def test_comparison_of_recommenders(folder):
    """A run without arms is a comparison of recommenders: one table, the best first, and what was run."""
    result = idrec("run", "small.yaml", "experiment.arms=[original]", "output=plain", "evaluate.k=[5, 20]",
                   "recommenders=[{model: bpr_mf, epochs: 2}, {model: popularity}, {model: item_knn}]", folder=folder)
    check(result.returncode == 0, f"plain: {result.stderr[-500:]}")
    results = json.loads((folder / "plain" / "results.json").read_text())
    scores = {}
    for run in results["runs"]:
        scores.setdefault(run["recommender"], []).append(run["metrics"]["ndcg@20"])
    best_first = sorted(scores, key=lambda name: -sum(scores[name]))
    fits = [line for line in (folder / "plain" / "log.txt").read_text().splitlines() if " train: " in line and "seed" in line]
    check(len(fits) == 4 and all(line[line.index("train: "):] in result.stderr for line in fits), f"a line for each fit: {fits}")
    check(any("bpr_mf, original, seed 2: best epoch 2 of 2, validation ndcg@20 0." in line for line in fits), f"fits: {fits}")
    lines = result.stdout.splitlines()
    check([line.split()[0] for line in lines[1:4]] == best_first, f"the best recommender first: {lines}")
    check(all(f"{metric}@{k}" in lines[0] for metric in ("recall", "ndcg") for k in (5, 20)), f"every cut: {lines[0]}")
    check("gain" not in lines[0] and "Holm" not in lines[0], f"no columns of arms: {lines[0]}")
    report = (folder / "plain" / "report.md").read_text()
    check("| item_knn (deterministic) | " in report and "± 0.0000" not in report, "seeds make no difference to item_knn")
    note = "bpr_mf stopped at the limit of 2 epochs while still improving; raise recommenders[].epochs."
    check(report.count(note) == 1 and note in result.stdout, f"a limit that was too low: {result.stdout}")
    check("Split: random" in report and "Protocol: clean" in report and "Training seeds: 1 to 2" in report, "what was run")
    check("| item_knn | model item_knn, neighbors 100, shrinkage 10, similarity cosine |" in report, "settings that are read")
    check("Verdict" not in report, "there is nothing to judge")


def test_published_protocol(folder):
    """The protocol of published tables has no validation data; nothing may ask for any."""
    head, *rows = (folder / "data.inter").read_text().splitlines(keepends=True)
    (folder / "train.inter").write_text(head + "".join(row for i, row in enumerate(rows) if i % 5))
    (folder / "test.inter").write_text(head + "".join(rows[::5]))
    result = idrec("run", "small.yaml", "output=published", "evaluate.protocol=test_selected", "augment.select=fixed",
                   "augment.ensemble_select=all",
                   "data={split: {method: provided, train: train.inter, test: test.inter}}", folder=folder)
    check(result.returncode == 0, f"test_selected: {result.stderr[-500:]}")
    results = json.loads((folder / "published" / "results.json").read_text())
    check(results["protocol"] == "test_selected" and results["dataset"]["validation"] == 0, "the protocol is named")


def test_name_of_the_process(folder):
    """What ps shows and pkill looks for. The program waits for its data meanwhile."""
    os.mkfifo(folder / "pipe.inter")
    process = subprocess.Popen([IDREC, "prepare", folder / "small.yaml", "output=waits", "data.path=pipe.inter"], cwd=folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    names = []
    for _ in range(20):
        time.sleep(0.05)
        names.append(pathlib.Path(f"/proc/{process.pid}/comm").read_text().strip())
    check(process.poll() is None, "nothing was waited for")
    process.kill()
    process.wait()
    check(names[-1] == pathlib.Path(IDREC).name[:15], f"the process is called {names[-1]}")


def test_lock_and_interrupt(folder):
    long_run = [IDREC, "run", "small.yaml", "output=long", "pretrain.epochs=100000", "pretrain.patience=0"]
    process = subprocess.Popen(long_run, cwd=folder, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (folder / "long" / "dataset.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    check_refusal(idrec("prepare", "small.yaml", "output=long", folder=folder), 1, "another process")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    check(process.returncode == 130, f"interrupted: status {process.returncode}: {stderr[-300:]}")
    check(stderr.count("idrec: interrupted") == 1, f"interrupted: {stderr[-300:]}")
    again = idrec("prepare", "small.yaml", "output=long", folder=folder)
    check(states(again) == {"prepare": "up t"}, f"after an interrupt: {again.stderr}")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "small.yaml").write_text(CONFIG)
        synthesize(folder / "data.inter", "--users=60", "--items=40", "--interactions=10")
        test_help()
        test_usage(folder)
        test_config(folder)
        test_devices()
        test_run(folder)
        test_original_alone(folder)
        test_comparison_of_recommenders(folder)
        test_published_protocol(folder)
        test_name_of_the_process(folder)
        test_lock_and_interrupt(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
