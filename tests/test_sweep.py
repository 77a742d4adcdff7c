"""Studies: a grid and a list of trials, stages that are computed once, trials that fail, workers that are killed.

Four workers on one folder, two of them killed: every trial is done once, with the bytes of a single worker. ctest kills them
once; `test_sweep.py --rounds 10` is the long form.
"""

import argparse
import json
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, check, idrec, lacks, status, synthesize
from test_kill import differences, without_measured

BASE = """\
name: base
data: {path: data.inter}
language_model: {layers: 1, width: 16, heads: 2}
prompts: {random_cuts: 1}
pretrain: {epochs: 1}
finetune: {epochs: 1}
generate: {contexts: 1, max_items: 5}
augment: {per_user: [2], select_seeds: 2, filters: [{name: catalogue}, {name: seen}, {name: duplicate},
                                                 {name: cap_user, maximum: 3}]}
recommenders: [{model: bpr_mf, width: 8, epochs: 4}]
experiment: {seeds: 1, arms: [original, augmented]}
evaluate: {k: [10]}
"""
LONGER = BASE.replace("pretrain: {epochs: 1}", "pretrain: {epochs: 10}").replace("finetune: {epochs: 1}", "finetune: {epochs: 5}") \
             .replace("epochs: 4}", "epochs: 60}").replace("seeds: 1,", "seeds: 3,")
STUDY = """\
extends: base.yaml
name: study
experiment:
  trials_at_once: 2
  sweep:
    finetune.rank: [2, 4]
    recommenders[0].width: [4, 8, 12]
  sweep_list:
  - {name: untuned, finetune.method: none}
"""
TRIALS = [f"rank={rank},width={width}" for rank in (2, 4) for width in (4, 8, 12)] + ["untuned"]
# What a study needs of each stage that its trials share: the data and the base are one, fine-tunings three.
SHARED = {"prepare": 1, "pretrain": 1, "finetune": 3, "generate": 3, "augment": 3}


def lines_of(study, text):
    """How often the logs of the trials say so."""
    return sum(text in path.read_text() for path in study.glob("trials/*/log.txt"))


def count(study, stage):
    return sum(len(re.findall(rf" {stage}: done in ", path.read_text())) for path in study.glob("trials/*/log.txt"))


def test_grid(folder):
    result = idrec(folder, "run", "study.yaml", "output=one")
    check(result.returncode == 0, f"the study: {result.stderr[-800:]}")
    study = folder / "one"
    check(sorted(path.name for path in study.glob("trials/*")) == sorted(TRIALS), "a folder for each trial")
    for stage, times in SHARED.items():
        check(count(study, stage) == times, f"{stage}: done {count(study, stage)} times, {times} are needed")
    for stage in ("train", "evaluate", "report"):
        check(count(study, stage) == len(TRIALS), f"{stage}: done {count(study, stage)} times")
    check(lines_of(study, "augment: taken from") == 4, "the other trials take what there is")
    inodes = {(study / "trials" / name / "dataset.h5").stat().st_ino for name in TRIALS}
    check(len(inodes) == 1, f"the data set lies there {len(inodes)} times")
    fits = {path.stat().st_ino for path in study.glob("trials/*/recommenders/bpr_mf/original/seed-1/model.h5")}
    check(len(fits) == 3, f"the original arm is fitted once for each width, not {len(fits)} times")
    again = idrec(folder, "run", "study.yaml", "output=one")
    check(again.returncode == 0 and "begins" not in again.stderr, f"nothing is left to do: {again.stderr[-300:]}")


def test_results(folder):
    results = json.loads((folder / "one" / "results.json").read_text())
    check([trial["trial"] for trial in results["trials"]] == TRIALS, "results.json lists the trials in order")
    check(results["trials"][4]["settings"] == {"finetune.rank": 4, "recommenders[0].width": 8}, "with what they set")
    best = 0.0
    for trial in results["trials"]:
        own = json.loads((folder / "one" / trial["folder"] / "results.json").read_text())
        for entry, run in zip(trial["recommenders"], own["runs"], strict=True):
            check((entry["recommender"], entry["arm"]) == (run["recommender"], run["arm"]), "recommenders and arms")
            check(entry["test"] == run["metrics"] and entry["validation"] == run["validation"], "the mean of one seed")
        best = max(best, trial["recommenders"][1]["validation"]["recall@10"])
    report = (folder / "one" / "report.md").read_text()
    check(f"{best:.4f} best" in report, "the best on validation is marked")
    check("| finetune.rank | recommenders[0].width | arm |" in report, "keys that most trials set are columns")
    check("</html>" in (folder / "one" / "report.html").read_text(), "report.html")


def test_single_run(folder):
    """A trial has the results of the same configuration as a run of its own."""
    result = idrec(folder, "run", "base.yaml", "output=single", "name=study", "finetune.rank=4", "recommenders[0].width=12")
    check(result.returncode == 0, f"a single run: {result.stderr[-300:]}")
    trial = folder / "one" / "trials" / "rank=4,width=12"
    found = [name for name in differences(folder / "single", trial) if name != "results.json differs"]
    check(not found, f"a trial and a run: {found}")
    runs = [json.loads((place / "results.json").read_text())["runs"] for place in (folder / "single", trial)]
    check(without_measured(runs[0]) == without_measured(runs[1]), "metrics of a trial and of a run")


def test_status(folder):
    told = json.loads(idrec(folder, "status", "study.yaml", "output=one", "--json").stdout)
    check(told["counts"]["done"] == len(TRIALS), f"status: {told['counts']}")
    printed = idrec(folder, "status", "one")
    check(f"{len(TRIALS)} of {len(TRIALS)} done" in printed.stdout, f"status of a folder: {printed.stdout}")
    before = json.loads(idrec(folder, "status", "study.yaml", "output=nothing", "--json").stdout)
    check(before["counts"]["waiting"] == len(TRIALS), f"before the start: {before['counts']}")
    refused = idrec(folder, "status", "base.yaml")
    check(refused.returncode == 2 and "no study" in refused.stderr, f"no study: {refused.stderr}")


def test_failure(folder):
    """A trial that fails doesn't end the rest, is told with its reason, and is tried again by the same command."""
    study = ["failing.yaml", "output=failing"]
    (folder / "failing.yaml").write_text(
        "extends: base.yaml\nexperiment: {arms: [original], sweep: {data.path: [missing.inter, data.inter]}}\n")
    result = idrec(folder, "run", *study)
    check(result.returncode == 1 and "1 of 2 trials failed" in result.stderr, f"status {result.returncode}: {result.stderr}")
    told = json.loads(idrec(folder, "status", *study, "--json").stdout)["trials"]
    check([trial["state"] for trial in told] == ["failed", "done"], f"states: {told}")
    check("missing.inter" in told[0]["reason"], f"the reason: {told[0]}")
    check("missing.inter: cannot open" in (folder / "failing" / "report.md").read_text(), "the report tells the reason")
    shutil.copy(folder / "data.inter", folder / "missing.inter")
    result = idrec(folder, "run", *study)
    check(result.returncode == 0 and result.stderr.count("begins") == 1, f"the second attempt: {result.stderr}")


STALE = """\
extends: base.yaml
name: stale
recommenders: [{model: MODEL}]
experiment: {arms: [original, augmented], sweep_list: [{name: first, data.path: INPUT}, {name: second, augment.per_user: [3]}]}
"""


def test_stale(folder):
    """What a trial that failed, or a recommender that is gone, left behind doesn't pass for results."""
    path, study, first = folder / "stale.yaml", folder / "stale", folder / "stale" / "trials" / "first"
    path.write_text(STALE.replace("MODEL", "item_knn").replace("INPUT", "data.inter"))
    result = idrec(folder, "run", path, "output=stale")
    check(result.returncode == 0, f"before: {result.stderr[-300:]}")
    check((study / "tables" / "gains-item_knn.tex").exists() and (first / "report.html").exists(), "before")
    (study / "tables" / "mine.txt").write_text("notes")
    path.write_text(STALE.replace("MODEL", "popularity").replace("INPUT", "gone.inter"))
    result = idrec(folder, "run", path, "output=stale")
    check(result.returncode == 1 and "1 of 2 trials failed" in result.stderr, f"after: {result.stderr[-300:]}")
    old = [str(one) for kind in ("tables", "plots") for one in (study / kind).iterdir() if "item_knn" in one.name]
    check(not old and (study / "tables" / "mine.txt").exists(), f"tables and plots of a recommender that is gone: {old}")
    left = [name for name in ("results.json", "report.md", "report.html") if (first / name).exists()]
    left += [one.name for kind in ("tables", "plots") for one in (first / kind).glob("*")]
    check(not left, f"results of other settings: {left}")
    told = json.loads(idrec(folder, "status", path, "output=stale", "--json").stdout)["trials"][0]
    check((told["state"], told["stage"]) == ("failed", "prepare"), f"status: {told}")
    told = json.loads(idrec(folder, "info", first, "--json").stdout)["trial"]
    check(told["state"] == "failed" and told["stage"] == "prepare" and "gone.inter" in told["reason"], f"info: {told}")
    told = json.loads(idrec(folder, "info", study, "--json").stdout)
    check(told["kind"] == "study" and told["trials"]["second"] == {"state": "done"}, f"info of the study: {told}")
    curves = idrec(folder, "tensorboard", study)
    check("first: failed, and is left out" in curves.stderr and not (first / "tensorboard").exists() and
          (study / "trials" / "second" / "tensorboard").exists(), f"curves: {curves.stderr}")
    for words in (("compare", first, study / "trials" / "second"), ("recommend", first, "--recommender=item_knn")):
        result = idrec(folder, *words)
        check(result.returncode == 1 and "failed in prepare" in result.stderr and "gone.inter" in result.stderr,
              f"{words[0]}: {result.stderr}")
    result = idrec(folder, "recommend", study, "--recommender=item_knn")
    check(result.returncode == 2 and "is a study" in result.stderr and "first, second" in result.stderr,
          f"recommend of a study: {result.stderr}")
    result = idrec(folder, "plan", path, "output=stale", "--device-tflops=1", "device=cpu")
    check(result.returncode != 0 and "gone.inter" in result.stderr and "(trial first)" in result.stderr,
          f"a plan by the data of other settings: {result.stdout[:300]} {result.stderr}")
    result = idrec(folder, "plan", "base.yaml", "--trial=first")
    check(result.returncode == 2 and "is no study" in result.stderr, f"a trial of no study: {result.stderr}")


def test_edited_attributes(folder):
    """Trials that group users by a file are done again when it was edited."""
    (folder / "edited.yaml").write_text(
        "extends: base.yaml\nexperiment: {arms: [original], sweep: {seed: [1, 2]}}\n"
        "evaluate: {k: [10], attributes: [{of: user, path: teams.csv}]}\n")
    (folder / "teams.csv").write_text("u1,red\nu2,blue\n")
    result = idrec(folder, "run", "edited.yaml", "output=edited")
    check(result.returncode == 0, f"a study with attributes: {result.stderr[-500:]}")
    for text, done in (("u1,red\nu2,blue\n", 2), ("u1,red\nu2,green\n", 0)):
        if not done:
            (folder / "teams.csv").write_text(text)
        counts = json.loads(idrec(folder, "status", "edited.yaml", "output=edited", "--json").stdout)["counts"]
        check(counts["done"] == done, f"attributes {text!r}: {counts}")


def test_refusals(folder):
    for sweep, reason in (("{finetune.rank: 3}", "a list of its values is expected"),
                          ("{finetune.rnk: [1]}", "is not a known key"),
                          ("{finetune.rank: [x]}", "is not a whole number"),
                          ("{output: [a, b]}", "belongs to the study"),
                          ("{seed: [1, 1]}", "two trials set the same: seed: 1;"),
                          ("{seed: [1, 2], augment.per_user: [[2], [-2]]}", "(trial seed=1,per_user=-2"),
                          ("[1]", "a mapping of keys to lists of their values is expected")):
        result = idrec(folder, "run", "base.yaml", "output=refused", f"experiment.sweep={sweep}")
        check(result.returncode == 2 and reason in result.stderr, f"{sweep}: {result.returncode}, {result.stderr}")
    result = idrec(folder, "plan", "base.yaml", "output=refused", "experiment.sweep={finetune.rank: [2, 0]}")
    check(result.returncode == 2 and "(trial rank=0" in result.stderr, f"plan: {result.stderr}")
    check(not (folder / "refused").exists(), "what is refused leaves no folder")
    result = idrec(folder, "train", "study.yaml")
    check(result.returncode == 2 and "a study" in result.stderr, f"a stage of a study: {result.stderr}")


def most_at_once(said):
    """How many trials ran at a time, by what their worker says."""
    running = most = 0
    for line in said.splitlines():
        running += (": begins" in line) - (": done in" in line)
        most = max(most, running)
    return most


def test_memory(folder):
    """Trials that are planned to take more memory together than they may are not begun together."""
    study = ["run", "base.yaml", "experiment.arms=[original]", "experiment.sweep={seed: [1, 2, 3, 4]}",
             "experiment.trials_at_once=2"]
    for memory, expected in ((0, 2), (0.03, 1)):
        result = idrec(folder, *study, f"output=memory-{memory}", f"experiment.trials_memory={memory}")
        check(result.returncode == 0, f"trials_memory={memory}: {result.stderr[-300:]}")
        check(most_at_once(result.stderr) == expected, f"trials_memory={memory}: {result.stderr}")
    result = idrec(folder, "run", "base.yaml", "output=refused", "experiment.sweep={experiment.trials_memory: [1, 2]}")
    check(result.returncode == 2 and "belongs to the study" in result.stderr, f"swept: {result.stderr}")


def start_worker(folder, number):
    with open(folder / f"worker-{number}.txt", "w") as output:
        return subprocess.Popen([IDREC, "run", "study.yaml", "output=four"], cwd=folder, stdout=subprocess.DEVNULL,
                                stderr=output)


def kill_two(folder, generator, longest):
    """Four workers, two of them killed; the statuses with which they end, and what they said."""
    began = time.monotonic()
    workers = [start_worker(folder, number) for number in range(4)]
    moments = sorted(generator.uniform(0.05, 1.0) * longest for _ in range(2))
    for victim, moment in zip(generator.sample(workers, 2), moments):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        victim.send_signal(signal.SIGKILL)
        print(f"killed a worker after {time.monotonic() - began:.2f} s", flush=True)
    statuses = sorted(worker.wait(timeout=400) for worker in workers)
    return statuses, "".join((folder / f"worker-{number}.txt").read_text() for number in range(4))


def check_done_once(study, said):
    """Every stage and every fit of every trial is done once, and no worker takes a trial that another has done."""
    for stage in ("train", "evaluate", "report"):
        times = {path.parent.name: len(re.findall(rf" {stage}: done in ", path.read_text()))
                 for path in study.glob("trials/*/log.txt")}
        check(times == dict.fromkeys(TRIALS, 1), f"{stage}: done {times}")
    for stage, times in SHARED.items():
        check(count(study, stage) == times, f"{stage}: done {count(study, stage)} times by four, {times} are needed")
    for name in TRIALS:
        fits = re.findall(r" train: (\S+, \S+, seed \d+):", (study / "trials" / name / "log.txt").read_text())
        check(len(fits) == len(set(fits)), f"{name}: fits are done twice: {fits}")
        check(len(re.findall(rf"^{re.escape(name)}: done in ", said, re.MULTILINE)) == 1, f"{name} is done once: {said}")


def test_killed_workers(folder, generator, longest=1.0):
    """Returns how often a trial was begun again by another worker."""
    study = folder / "four"
    shutil.rmtree(study, ignore_errors=True)
    statuses, said = kill_two(folder, generator, longest)
    while statuses.count(-9) < 2 and longest > 0.1:  # a victim had ended before
        longest *= 0.7
        shutil.rmtree(study)
        statuses, said = kill_two(folder, generator, longest)
    check(statuses == [-9, -9, 0, 0], f"workers end with {statuses}")
    check_done_once(study, said)
    left = [path.name for path in (study / "claims").glob("[!.]*")]
    check(not left, f"claims of workers that were killed: {left}")
    check(said.count("written by another worker") >= 1, f"both workers that live write the results: {said}")
    check((study / "results.json").read_bytes() == (folder / "one" / "results.json").read_bytes(), "results of the study")
    for name in TRIALS:
        found = differences(folder / "one" / "trials" / name, study / "trials" / name)
        check(not found, f"{name}: {found}")
    return len(re.findall(r": begins", said)) - len(TRIALS)


def long_rounds(folder, rounds, seed):
    """The kill test alone, with trials that take longer, again and again."""
    began = time.monotonic()
    single = idrec(folder, "run", "study.yaml", "output=one")
    check(single.returncode == 0, f"one worker: {single.stderr[-800:]}")
    longest = time.monotonic() - began
    print(f"one worker, one trial at a time: {longest:.1f} s", flush=True)
    for number in range(rounds):
        print(f"round {number + 1}, seed {seed + number}", flush=True)
        taken = test_killed_workers(folder, random.Random(seed + number), longest)
        print(f"{taken} trials were begun by a victim and ended by another", flush=True)


def test_interrupt(folder):
    """A worker that is asked to end saves its state, and the same command goes on."""
    worker = subprocess.Popen([IDREC, "run", "study.yaml", "output=stopped"], cwd=folder, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    time.sleep(1.0)
    worker.send_signal(signal.SIGTERM)
    check(worker.wait(timeout=60) == 130, f"interrupted: status {worker.returncode}")
    states = json.loads(idrec(folder, "status", "study.yaml", "output=stopped", "--json").stdout)["counts"]
    check(states["running"] == 0 and states["failed"] == 0, f"after an interrupt: {states}")


def test_tidy(folder):
    """What only a trial used that is gone, goes at the end of the study; what others use stays."""
    shutil.rmtree(folder / "one" / "trials" / "untuned")
    study = ["study.yaml", "output=one", "experiment.sweep_list=[]"]
    before = json.loads(idrec(folder, "status", *study, "--json").stdout)["shared"]
    check(0 < before["unused_entries"] < before["entries"] and before["unused_bytes"] > 0, f"before: {before}")
    check("no trial uses" in idrec(folder, "status", *study).stdout, "status tells it")
    result = idrec(folder, "run", *study)
    check(result.returncode == 0 and "which no trial uses any more" in result.stderr, f"the end: {result.stderr[-300:]}")
    after = json.loads(idrec(folder, "status", *study, "--json").stdout)["shared"]
    check(after == {"entries": before["entries"] - before["unused_entries"], "unused_entries": 0, "unused_bytes": 0,
                    "bytes": before["bytes"] - before["unused_bytes"]}, f"before: {before}, after: {after}")
    check(len(list((folder / "one" / "shared").glob("finetune-*[0-9a-f]"))) == 2, "fine-tunings of the others")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=0, help="kill two of four workers so often, and test nothing else")
    parser.add_argument("--seed", type=int, default=1, help="of the first round's moments")
    arguments = parser.parse_args()
    if lacks("h5diff"):
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "base.yaml").write_text(LONGER if arguments.rounds else BASE)
        (folder / "study.yaml").write_text(STUDY.replace("once: 2", "once: 1") if arguments.rounds else STUDY)
        synthesize(folder / "data.inter", "--users=60", "--items=40", "--interactions=12")
        if arguments.rounds:
            long_rounds(folder, arguments.rounds, arguments.seed)
            return status()
        test_grid(folder)
        test_results(folder)
        test_single_run(folder)
        test_status(folder)
        test_failure(folder)
        test_stale(folder)
        test_edited_attributes(folder)
        test_refusals(folder)
        test_memory(folder)
        test_killed_workers(folder, random.Random(1))
        test_interrupt(folder)
        test_tidy(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
