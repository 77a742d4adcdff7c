"""Generation, recommenders and searches by the ranks of one job: 1, 2 and 4 of them give the same files, and so do jobs that were
killed or interrupted and gone on with by another number of ranks. A study by ranks is that of one process.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from checking import IDREC, check, lacks
from ranks import MPIEXEC, begin, end_of, main, prepare, run
from test_kill import differences, shapes, without_measured
from test_language_recommender import read_h5

# Generation has three parts, the last of them short.
USERS = 1300
CONFIG = """\
name: ranks
seed: 3
data: {path: data.inter}
device: cpu
threads: 1
language_model: {layers: 1, width: 16, heads: 2}
prompts: {random_cuts: 1}
pretrain: {epochs: 1}
finetune: {epochs: 1, rank: 2}
generate: {contexts: 1, samples: 2, max_items: 5}
augment: {use: [positives], per_user: [1, 3], select_seeds: 2}
recommenders: [{model: bpr_mf, width: 8, epochs: 3}, {model: item_knn}, {model: language_model, ranked_items: 20, contexts: 1}]
experiment: {arms: [original, augmented, control.itemknn, control.generator], seeds: 2}
evaluate: {k: [10], resamples: 100}
"""
# Generation that takes a while.
LONG = ["generate.method=sampling", "generate.contexts=4", "generate.samples=64", "generate.max_items=20"]
TUNE = ["tune={trials: 9, first_epochs: 1, reduction: 3, arms: [original, augmented], space: ["
        "{key: learning_rate, low: 1.0e-4, high: 1.0e-1, scale: log}, {key: neighbors, low: 2, high: 40, scale: log}]}",
        "recommenders[0].epochs=9", "recommenders[0].evaluate_every=1"]
STUDY = """\
extends: ranks.yaml
name: study
recommenders: [{model: bpr_mf, width: 8, epochs: 2}]
augment: {select: fixed, per_user: [1]}
experiment:
  arms: [original, augmented]
  seeds: 1
  sweep:
    generate.max_items: [2, 3]
    recommenders[0].width: [4, 8]
"""
TRAINED = "trained"  # the folder whose language model all runs begin with


def finish(folder, ranks, output):
    for stage in ("generate", "augment", "train", "evaluate"):
        run(folder, ranks, stage, output)


def test_numbers(folder):
    for stage in ("prepare", "pretrain", "finetune"):
        run(folder, 1, stage, TRAINED)
    for ranks in (1, 2, 4):
        shutil.copytree(folder / TRAINED, folder / f"by{ranks}")
        finish(folder, ranks, f"by{ranks}")
    for output in ("by2", "by4"):
        found = differences(folder / "by1", folder / output)
        check(not found, f"{output}: {found}")
        check(not (folder / output / ".turns").exists(), f"{output}: turns are left behind")
    counts = json.loads((folder / "by1" / "results.json").read_text())["generation"]
    check(counts["requested"] > 0 and counts["valid"] > 0, f"nothing is generated: {counts}")


def test_divided(folder):
    """Other ranks do fits as well, and what they compute counts."""
    costs = [{row["stage"]: row for row in json.loads((folder / output / "results.json").read_text())["cost"]}
             for output in ("by1", "by2")]
    for stage in ("generate", "train"):
        one, two = (cost[stage]["flops"] for cost in costs)
        check(one > 0 and abs(two / one - 1) < 0.05, f"{stage}: {two} operations by 2 ranks, {one} by one")
    log = (folder / "by4" / "log.txt").read_text()
    told = log.count(", seed ")
    alone = (folder / "by1" / "log.txt").read_text().count(", seed ")
    check(told < alone, f"rank 0 of 4 tells of {told} fits, one process of {alone}")


def found_by(output):
    """All files that a search ends with, without what measures time."""
    files = {}
    for path in sorted((output / "tune").rglob("*")):
        if path.name == "trials.tsv":
            lines = [line.split("\t") for line in path.read_text().splitlines()]
            files[path.relative_to(output)] = [line[:4] + line[5:] for line in lines]
        elif path.name == "tuning.json":
            files[path.relative_to(output)] = without_measured(json.loads(path.read_text()))
        elif path.name == "best.yaml":
            files[path.relative_to(output)] = path.read_text()
    return files


def test_tune(folder):
    """Successive halving follows from the scores alone, whichever rank has trained what."""
    for ranks in (1, 2, 4):
        shutil.copytree(folder / "by1", folder / f"tuned{ranks}")
        run(folder, ranks, "tune", f"tuned{ranks}", *TUNE)
    expected = found_by(folder / "tuned1")
    for arm in ("original", "augmented"):
        check(pathlib.Path(f"tune/bpr_mf/{arm}/trials.tsv") in expected, f"tune: {sorted(map(str, expected))}")
    for ranks in (2, 4):
        found = found_by(folder / f"tuned{ranks}")
        check(found == expected, f"tune by {ranks}: {[str(name) for name in expected if found.get(name) != expected[name]]}")


def has_part(output):
    return any((output / "generated_parts").glob("*.h5"))


def has_fit(output):
    return any((output / "recommenders" / "bpr_mf").glob("*/*/metrics.json"))


def kill(folder, ranks, stage, output, began, victim, *overrides):
    process, processes = begin(folder, ranks, stage, output, began, *overrides)
    os.kill(processes.get(victim, process.pid), signal.SIGKILL)
    seconds, code, text = end_of(process)
    check(code != 0 and seconds < 30, f"{output}: {stage} ended after {seconds:.0f} s with status {code}: {text[-600:]}")


def test_killed_fits(folder):
    """SIGKILL of a rank; then more ranks go on."""
    shutil.copytree(folder / TRAINED, folder / "killed")
    for stage in ("generate", "augment"):
        run(folder, 1, stage, "killed")
    kill(folder, 2, "train", "killed", has_fit, 0)
    finish(folder, 4, "killed")
    found = differences(folder / "by1", folder / "killed")
    check(not found, f"killed: {found}")


def begin_with_one_stopped(folder, output):
    """Generation by two ranks, of which the first has finished a part while the second was stopped: so it is not over when the
    second receives a signal, however busy the machine is."""
    process, processes = begin(folder, 2, "generate", output, lambda place: (place / "generated_parts").exists(), *LONG)
    victim = processes.get(1, process.pid)
    os.kill(victim, signal.SIGSTOP)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not has_part(folder / output) and process.poll() is None:
        time.sleep(0.005)
    return process, victim


def check_generated(folder, output):
    one, other = folder / "long1" / "generated.h5", folder / output / "generated.h5"
    compared = subprocess.run(["h5diff", one, other], capture_output=True, text=True)
    check(compared.returncode == 0 and shapes(one) == shapes(other), f"{output}: generated.h5: {compared.stdout[:300]}")


def test_ended_generation(folder):
    """SIGKILL of a rank, and a signal to one, which ends all of them with status 130; then another number of ranks goes on."""
    for output in ("long1", "long_killed", "long_interrupted"):
        shutil.copytree(folder / TRAINED, folder / output)
    run(folder, 1, "generate", "long1", *LONG)
    kill(folder, 4, "generate", "long_killed", has_part, 1, *LONG)
    run(folder, 2, "generate", "long_killed", *LONG)
    check_generated(folder, "long_killed")
    process, victim = begin_with_one_stopped(folder, "long_interrupted")
    os.kill(victim, signal.SIGTERM)
    os.kill(victim, signal.SIGCONT)
    _, code, text = end_of(process)
    check(code == 130, f"interrupted: status {code}: {text[-600:]}")
    check(text.count("interrupted; what was finished is kept") == 1, f"interrupted: {text[-600:]}")
    parts = list((folder / "long_interrupted" / "generated_parts").glob("*.h5"))
    check(parts, "interrupted: no part is kept")
    run(folder, 4, "generate", "long_interrupted", *LONG)
    check_generated(folder, "long_interrupted")


def rankings(path):
    users, items, scores = read_h5(path, "/user", "/item", "/log_probability")
    return dict(zip(zip(users, items), scores))


def test_members(folder):
    """Two ranks train three models one after another, and ask all of them, as one process does."""
    words = ["language_model.members=3", "generate.max_items=60"]
    for ranks in (1, 2):
        for stage in ("prepare", "pretrain", "finetune", "generate"):
            run(folder, ranks if stage != "prepare" else 1, stage, f"members{ranks}", *words)
    for part in ("base_members/2", "base_members/3", "adapter_members/2", "adapter_members/3"):
        check((folder / "members2" / "language_model" / part / "DONE").exists(), f"members: {part} is missing")
    one, two = rankings(folder / "members1" / "generated.h5"), rankings(folder / "members2" / "generated.h5")
    check(len(one) > USERS * 30 and one.keys() == two.keys(), f"members: {len(one)} and {len(two)} rows")
    furthest = max(abs(one[pair] - two[pair]) for pair in one.keys() & two.keys())
    check(furthest < 1e-3, f"members: two ranks are {furthest} away from one")


def study(folder, ranks, output, *words):
    words = [IDREC, "run", "study.yaml", f"output={output}", *words]
    return subprocess.run([MPIEXEC, "-n", str(ranks), *words] if ranks > 1 else words, cwd=folder, text=True,
                          capture_output=True, timeout=500)


def test_study(folder):
    """Each trial is done by one rank, and the table is printed once."""
    one, two = study(folder, 1, "study1"), study(folder, 2, "study2")
    check(one.returncode == 0 and two.returncode == 0, f"study: {one.stderr[-600:]} {two.stderr[-1500:]}")
    check(one.stdout and two.stdout == one.stdout.replace("study1", "study2"), f"study: {two.stdout[-600:]}")
    check(two.stderr.count(": done in ") == 4, f"study: {two.stderr[-1500:]}")
    for trial in sorted(path.name for path in (folder / "study1" / "trials").iterdir()):
        found = differences(folder / "study1" / "trials" / trial, folder / "study2" / "trials" / trial)
        check(not found, f"study, {trial}: {found}")
    refused = study(folder, 2, "study2", "--trial=max_items=2,width=4")
    check(refused.returncode == 2 and "is done by one process" in refused.stderr, f"trial: {refused.stderr[-600:]}")


def test_failed_study(folder):
    """A trial that fails is told once, when the others are done."""
    result = study(folder, 2, "failed", "experiment.sweep_list=[{name: broken, data.path: missing.inter}]")
    check(result.returncode == 1, f"failed study: status {result.returncode}: {result.stderr[-1500:]}")
    check(result.stderr.count("1 of 5 trials failed") == 1, f"failed study: {result.stderr[-1500:]}")
    check(result.stderr.count(": done in ") == 4, f"failed study: {result.stderr[-1500:]}")


def test_all(folder):
    prepare(folder, CONFIG, users=USERS, items=60, interactions=10)
    (folder / "study.yaml").write_text(STUDY)
    test_numbers(folder)
    test_divided(folder)
    test_tune(folder)
    test_killed_fits(folder)
    test_ended_generation(folder)
    test_members(folder)
    test_study(folder)
    test_failed_study(folder)


if __name__ == "__main__":
    sys.exit(77 if lacks("h5diff", "h5dump") else main(test_all))
