"""Recomputes every test metric of every fit of a run, without the program under test.

    python3 check_metrics.py RUN_FOLDER

Reads recommenders/*/*/seed-*/top_k.tsv (raw ids) and the frozen split of dataset.h5, and compares with metrics.json:
an absolute difference above 1e-9 is an error. Also checks that no list holds an item of train or validation, an item
twice, or a user without test items, and that ranks count from 1. Needs h5py to read dataset.h5; all arithmetic is
plain Python. Validation metrics are not checked: no lists of validation are written to recompute them from.
"""

import glob
import json
import math
import os
import sys


def read_split(path):
    """Raw ids of every user's items in train, validation and test."""
    try:
        import h5py
    except ImportError:
        sys.exit("check_metrics: h5py, which reads dataset.h5, is not installed; nothing was checked")
    with h5py.File(path, "r") as file:
        names = [[name.decode() if isinstance(name, bytes) else name for name in file[kind + "/id"][:]]
                 for kind in ("users", "items")]
        parts = {}
        for part in ("train", "validation", "test"):
            starts, indices = file[part + "/indptr"][:], file[part + "/indices"][:]
            parts[part] = {names[0][u]: {names[1][i] for i in indices[starts[u]:starts[u + 1]]}
                           for u in range(len(starts) - 1)}
        return parts


def read_lists(path, split):
    lists = {}
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            user, item, rank, _ = line.rstrip("\n").split("\t")
            items = lists.setdefault(user, [])
            where = f"{path}:{number}"
            assert split["test"].get(user), f"{where}: {user} has no test items"
            assert int(rank) == len(items) + 1, f"{where}: rank {rank} after {len(items)} items"
            assert item not in items, f"{where}: {item} twice"
            assert item not in split["train"][user], f"{where}: {item} is in train"
            assert item not in split["validation"][user], f"{where}: {item} is in validation"
            items.append(item)
    return lists


def user_metrics(items, truth, k):
    hits = [item in truth for item in items[:k]]
    count, ideal = sum(hits), min(k, len(truth))
    gain = sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits) if hit)
    first = hits.index(True) + 1 if count else 0
    precision_at_hits = sum(sum(hits[:rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit)
    return {
        "recall": count / len(truth),
        "ndcg": gain / sum(1 / math.log2(rank + 2) for rank in range(ideal)),
        "precision": count / k,
        "hit": float(count > 0),
        "mrr": 1 / first if first else 0.0,
        "map": precision_at_hits / ideal,
    }


def check_fit(folder, split):
    with open(os.path.join(folder, "metrics.json"), encoding="utf-8") as file:
        written = json.load(file)["test"]
    lists = read_lists(os.path.join(folder, "top_k.tsv"), split)
    users = [user for user, items in split["test"].items() if items]
    for k in sorted({int(name.split("@")[1]) for name in written}):
        values = [user_metrics(lists.get(user, []), split["test"][user], k) for user in users]
        for metric in values[0]:
            found = math.fsum(value[metric] for value in values) / len(users)
            name = f"{metric}@{k}"
            assert abs(found - written[name]) <= 1e-9, f"{folder}: {name} is {found!r}, written {written[name]!r}"
    return len(written)


def check_run(run, split):
    folders = [os.path.dirname(path) for path in
               sorted(glob.glob(os.path.join(glob.escape(run), "recommenders/*/*/seed-*/top_k.tsv")))]
    assert folders, f"{run}: no top_k.tsv below recommenders/"
    checked = sum(check_fit(folder, split) for folder in folders)
    print(f"check_metrics: {checked} metrics of {len(folders)} fits agree within 1e-9")
    return len(folders)


def main():
    run = sys.argv[1]
    check_run(run, read_split(os.path.join(run, "dataset.h5")))


if __name__ == "__main__":
    main()
