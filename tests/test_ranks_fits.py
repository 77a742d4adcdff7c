"""Fits of recommenders that all ranks of a job do together: 1, 2 and 4 of them give the same models, lists and metrics,
sequential models the same losses, other fits are done by one rank each, what is sent is told, and any number of ranks goes on with a fit that was killed or interrupted.
"""

import json
import os
import re
import shutil
import signal
import sys

from checking import check, lacks
from ranks import begin, end_of, main, prepare, run
from test_kill import differences

# Batches of fewer triples than ranks, users of a last block, synthetic rows of a weight and rows excluded from negatives.
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
augment: {use: [exclude_from_negatives, positives], per_user: [1, 3], select_seeds: 2, weight: 0.5}
recommenders:
- {model: bpr_mf, optimizer: adam, width: 8, epochs: 6, batch: 600, evaluate_every: 2}
- {model: bpr_mf, optimizer: sgd, width: 8, epochs: 2}
- {model: lightgcn, width: 8, layers: 3, epochs: 4, batch: 601, evaluate_every: 1, patience: 1}
- {model: item_knn}
experiment: {arms: [original, augmented, control.self], seeds: 1, divide_fits: true}
evaluate: {k: [10], resamples: 100}
"""
DIVIDED = ("bpr_mf", "lightgcn")
# Sequences of different length; fewer in the last batch than ranks.
SEQUENTIAL = [
    "data.split.method=leave_one_out", "experiment.arms=[original]",
    "recommenders=[{model: sasrec, width: 16, layers: 2, loss: gbce, negatives: 20, sequences: 23, epochs: 8, evaluate_every: 1},"
    " {model: sasrec, width: 16, layers: 1, heads: 2, loss: cross_entropy, sequences: 23, epochs: 8, evaluate_every: 1,"
    " regularization: 1.0e-3},"
    " {model: bert4rec, width: 16, layers: 1, heads: 2, sequences: 23, epochs: 8, evaluate_every: 1},"
    " {model: cl4srec, width: 16, layers: 1, epochs: 1}]"]
STEPS = 100
TOLERANCE = 1e-5
# A fit that takes a while, of a table that 4 ranks share.
LONG = ["recommenders=[{model: lightgcn, width: 32, layers: 2, epochs: 60, batch: 64, evaluate_every: 60}]",
        "experiment.arms=[original]", "augment.select=fixed", "augment.per_user=[1]"]
LONG_SEQUENCES = ["recommenders=[{model: sasrec, width: 16, layers: 1, sequences: 9, epochs: 40, evaluate_every: 4, patience: 0}]",
                  *LONG[1:]]
# A token predicts several rows: the parts that ranks have of a batch differ in their predictions more than in their tokens.
TARGETS = ["recommenders=[{model: sasrec, width: 16, layers: 1, sequences: 23, epochs: 4, evaluate_every: 1,"
           " synthetic_position: targets}, {model: bert4rec, width: 16, layers: 1, sequences: 23, epochs: 4, evaluate_every: 1,"
           " synthetic_position: targets}]",
           "experiment.arms=[original, augmented]", "augment.select=fixed", "augment.per_user=[3]", "augment.use=[positives]"]


def losses(output):
    """What metrics.jsonl of each fit tells: losses and scores are those of one process as well."""
    return {path.relative_to(output): [json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted((output / "recommenders").rglob("metrics.jsonl"))}


def test_numbers(folder):
    for stage in ("prepare", "pretrain", "finetune", "generate", "augment"):
        run(folder, 1, stage, "prepared")
    for ranks in (1, 2, 4):
        shutil.copytree(folder / "prepared", folder / f"by{ranks}")
        run(folder, ranks, "run", f"by{ranks}")
    expected = losses(folder / "by1")
    check(len(expected) > 6, f"metrics of {sorted(map(str, expected))} only")
    for output in ("by2", "by4"):
        found = differences(folder / "by1", folder / output)
        check(not found, f"{output}: {found}")
        found = losses(folder / output)
        check(found == expected, f"{output}: {[str(name) for name in expected if found.get(name) != expected[name]]}")


def check_volume(log):
    """The bytes of an epoch that the log tells, counted and by the model."""
    told = re.findall(r"rank 0 has sent (\d+) bytes an epoch; the model of docs/scaling.md says (\d+)", log)
    for counted, model in told:
        check(abs(int(counted) / int(model) - 1) < 0.02, f"{counted} bytes of an epoch are counted, the model says {model}")
    return told


def test_told(folder):
    """Which fits are divided and which cannot be; the bytes of an epoch, and by the model."""
    log = (folder / "by4" / "log.txt").read_text()
    for label in ("bpr_mf-2", "item_knn"):
        check(f"train: {label} cannot be divided" in log, f"{label}: {log[-1500:]}")
    for label in DIVIDED:
        check(f"train: {label} cannot" not in log, f"{label} is not divided: {log[-1500:]}")
    told = check_volume(log)
    fits = [path for label in DIVIDED for path in (folder / "by4" / "recommenders" / label).glob("*/*/metrics.json")]
    check(0 < len(told) <= len(fits), f"bytes of {len(told)} fits: {log[-1500:]}")
    alone = (folder / "by1" / "log.txt").read_text()
    check("bytes an epoch" not in alone and "divided" not in alone, f"one process: {alone[-1500:]}")


def sequential(folder, ranks, output):
    for stage in ("prepare", "train", "evaluate"):
        run(folder, ranks, stage, output, *SEQUENTIAL)
    return losses(folder / output)


def compare_sequential(folder, expected, output):
    """Losses to rounding: the largest difference."""
    found, worst = losses(folder / output), 0
    check(found.keys() == expected.keys(), f"{output}: {sorted(map(str, found))}")
    for name in expected.keys() & found.keys():
        check(len(found[name]) == len(expected[name]), f"{output}, {name}: {len(found[name])} epochs")
        for one, other in zip(expected[name], found[name]):
            difference = abs(other["loss"] / one["loss"] - 1)
            worst = max(worst, difference)
            check(difference <= TOLERANCE, f"{output}, {name}, epoch {one['step']}: {other['loss']!r}, not {one['loss']!r}")
            scores = [line[key] for line in (one, other) for key in line if "@" in key or key == "ndcg"]
            check(scores and max(scores) - min(scores) < 5e-3, f"{output}, {name}, epoch {one['step']}: {scores}")
    return worst


def test_sequential(folder):
    """Losses to rounding, over 100 steps; with the same number of ranks the same bits."""
    expected = sequential(folder, 1, "sequences1")
    check(len(expected) == 4 and STEPS <= 300 // 23 * 8, f"fits: {sorted(map(str, expected))}")
    for ranks in (2, 4):
        sequential(folder, ranks, f"sequences{ranks}")
    worst = max(compare_sequential(folder, expected, f"sequences{ranks}") for ranks in (2, 4))
    print(f"losses of sequential models by 2 and 4 ranks within {worst:.1e} of one process's")
    log = (folder / "sequences4" / "log.txt").read_text()
    check("train: 3 fits are done by 4 ranks together" in log and "train: cl4srec cannot be divided" in log, log[-1500:])
    check(len(check_volume(log)) == 3, f"bytes of sequential fits: {log[-1500:]}")
    sequential(folder, 4, "sequences4again")
    found = differences(folder / "sequences4", folder / "sequences4again")
    check(not found, f"4 ranks again: {found}")


def test_targets(folder):
    for ranks in (1, 2, 4):
        shutil.copytree(folder / "prepared", folder / f"targets{ranks}")
        for stage in ("augment", "train"):
            run(folder, ranks, stage, f"targets{ranks}", *TARGETS)
    expected = losses(folder / "targets1")
    augmented = [name for name in expected if "augmented" in name.parts]
    check(len(expected) == 4 and len(augmented) == 2, f"fits: {sorted(map(str, expected))}")
    worst = max(compare_sequential(folder, expected, f"targets{ranks}") for ranks in (2, 4))
    print(f"the same with rows as targets: within {worst:.1e}")


def train_long(folder, output, signal_number, victim, ranks, later, overrides):
    """A signal to a rank in the middle of a fit; then other ranks go on."""
    shutil.copytree(folder / "prepared", folder / output)
    process, processes = begin(folder, ranks, "train", output, has_fit_folder, *overrides)
    os.kill(processes.get(victim, process.pid), signal_number)
    seconds, code, text = end_of(process)
    check(seconds < 30 and code != 0, f"{output}: ended after {seconds:.0f} s with status {code}: {text[-600:]}")
    if signal_number == signal.SIGTERM:
        check(code == 130 and text.count("interrupted; what was finished is kept") == 1, f"{output}: {code}, {text[-600:]}")
        check(list((folder / output / "recommenders").rglob("checkpoint.h5")), f"{output}: nothing is saved")
    result = run(folder, later, "train", output, *overrides)
    check(("goes on after epoch" in result.stderr) == (signal_number == signal.SIGTERM), f"{output}: {result.stderr[-900:]}")
    run(folder, 1, "evaluate", output, *overrides)


def has_fit_folder(output):
    return any((output / "recommenders").glob("*/original/seed-3"))


def test_ended(folder):
    shutil.copytree(folder / "prepared", folder / "long1")
    run(folder, 1, "train", "long1", *LONG)
    run(folder, 1, "evaluate", "long1", *LONG)
    for output, signal_number, victim, ranks, later in (("interrupted", signal.SIGTERM, 1, 2, 4),
                                                        ("fewer", signal.SIGTERM, 0, 4, 1),
                                                        ("killed", signal.SIGKILL, 1, 2, 3)):
        train_long(folder, output, signal_number, victim, ranks, later, LONG)
        found = differences(folder / "long1", folder / output)
        check(not found, f"{output}: {found}")


def test_ended_sequences(folder):
    """Moments that ranks keep are a whole checkpoint: other ranks go on with the losses of one process."""
    shutil.copytree(folder / "prepared", folder / "sequence")
    run(folder, 1, "train", "sequence", *LONG_SEQUENCES)
    train_long(folder, "sequence_fewer", signal.SIGTERM, 1, 4, 2, LONG_SEQUENCES)
    for name, expected in losses(folder / "sequence").items():
        found = losses(folder / "sequence_fewer")[name]
        found = list({line["step"]: line for line in found}.values())
        check(len(found) == len(expected) == 10, f"{name}: epochs {[line['step'] for line in found]}")
        for one, other in zip(expected, found):
            check(abs(other["loss"] / one["loss"] - 1) <= TOLERANCE, f"{name}: {other} instead of {one}")


def test_all(folder):
    prepare(folder, CONFIG, items=60, interactions=10)
    test_numbers(folder)
    test_told(folder)
    test_sequential(folder)
    test_targets(folder)
    test_ended(folder)
    test_ended_sequences(folder)


if __name__ == "__main__":
    sys.exit(77 if lacks("h5diff") else main(test_all))
