"""The metrics of a small run, recomputed by check_metrics.py from its lists and the very files that it read."""

import pathlib
import random
import subprocess
import sys
import tempfile

import check_metrics
from checking import IDREC

USERS, ITEMS, ROWS, HELD_OUT = 80, 50, 12, 3
FITS = 2 * 2 * 2

CONFIG = """\
name: metrics
data:
  k_core: 0
  split: {method: provided, train: train.inter, test: test.inter}
language_model: {layers: 1, width: 16, heads: 2}
pretrain: {epochs: 1}
finetune: {epochs: 1}
generate: {contexts: 1, max_items: 5}
augment: {select: fixed, per_user: [2]}
recommenders:
- {model: popularity}
- {model: bpr_mf, width: 8, epochs: 5}
experiment: {seeds: 2, arms: [original, augmented]}
evaluate: {k: [3, 10]}
"""


def draw_split(generator):
    """Users like items of their own residue; some have few test items, some none, and popularity is skewed."""
    split = {"train": {}, "validation": {}, "test": {}}
    for number in range(USERS):
        user = f"user {number}"
        weights = [(4 if item % 4 == number % 4 else 1) / (1 + item) ** 0.5 for item in range(ITEMS)]
        items = []
        while len(items) < ROWS:
            item = f"i{generator.choices(range(ITEMS), weights)[0]}"
            if item not in items:
                items.append(item)
        held_out = number % (HELD_OUT + 1)
        split["test"][user], split["train"][user] = set(items[:held_out]), set(items[held_out:])
        split["validation"][user] = set()
    known = set().union(*split["train"].values())
    for items in split["test"].values():
        items &= known
    return split


def write_part(path, rows):
    lines = [f"{user}\t{item}\n" for user, items in rows.items() for item in sorted(items)]
    path.write_text("user_id:token\titem_id:token\n" + "".join(lines), encoding="utf-8")


def main():
    split = draw_split(random.Random(3))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        (scratch / "metrics.yaml").write_text(CONFIG, encoding="utf-8")
        for part in ("train", "test"):
            write_part(scratch / f"{part}.inter", split[part])
        run = subprocess.run([IDREC, "run", "metrics.yaml", "output=out"], cwd=scratch, capture_output=True, text=True,
                             timeout=300)
        if run.returncode != 0:
            sys.exit(f"the run failed with status {run.returncode}: {run.stderr[-2000:]}")
        fits = check_metrics.check_run(str(scratch / "out"), split)
        if fits != FITS:
            sys.exit(f"{fits} fits have lists, expected {FITS}")


if __name__ == "__main__":
    main()
