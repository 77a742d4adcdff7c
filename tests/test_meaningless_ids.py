"""Ids carry no meaning where every item has a token of its own: with all ids replaced by random letters a run proposes the same rows
and ends with the same figures.
"""

import json
import pathlib
import random
import string
import sys
import tempfile

from checking import check, status, synthesize
from test_language_recommender import read_h5, run

CONFIG = """\
name: names
seed: 3
data: {path: %s, format: recbole}
language_model: {layers: 1, width: 16, heads: 2}
prompts: {random_cuts: 2}
pretrain: {epochs: 3, tokens_per_batch: 1024}
finetune: {epochs: 1}
augment: {use: [none, positives], per_user: [2]}
recommenders: [{model: bpr_mf, width: 8, epochs: 15}, {model: item_knn}]
experiment: {arms: [original, augmented, control.random, control.ensemble], seeds: 2}
"""


def rename(source, target):
    """The same rows in the same order, under other names."""
    letters = random.Random(7)
    names = {}
    head, *rows = source.read_text().splitlines()
    renamed = []
    for row in rows:
        fields = row.split("\t")
        for column in (0, 1):
            key = (column, fields[column])
            while key not in names:
                name = "".join(letters.choices(string.ascii_lowercase, k=6))
                if name not in names.values():
                    names[key] = name
            fields[column] = names[key]
        renamed.append("\t".join(fields))
    target.write_text("\n".join([head, *renamed]) + "\n")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        synthesize(folder / "numbers.inter", "--users=120", "--items=70", "--interactions=12")
        rename(folder / "numbers.inter", folder / "letters.inter")
        results = {}
        for kind in ("numbers", "letters"):
            config = folder / f"{kind}.yaml"
            config.write_text(CONFIG % f"{kind}.inter" + f"output: {folder / kind}\n")
            run(config)
            told = json.loads((folder / kind / "results.json").read_text())
            rows = read_h5(folder / kind / "augmented.h5", "/user", "/item", "/log_probability", "/votes")
            results[kind] = ([(entry["recommender"], entry["arm"], entry["seed"], entry["metrics"], entry["rows_added"])
                              for entry in told["runs"]], told["generation"], rows)
        first, second = results.values()
        check(len(first[0]) == 16 and any(entry[4] > 0 for entry in first[0]), "rows were added")
        for place, words in enumerate(("metrics", "counts of generated rows", "rows")):
            check(first[place] == second[place], f"other ids, other {words}")
        ids = [read_h5(folder / kind / "dataset.h5", "/items/id") for kind in results]
        check(ids[0] != ids[1], "the ids are the same")
    return status()


if __name__ == "__main__":
    sys.exit(main())
