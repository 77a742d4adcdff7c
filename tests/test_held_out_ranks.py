"""`scripts/held-out-ranks`: its ranks are those of a plain computation, and parts that are not alike are told apart."""

import math
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

from checking import check, status

try:
    import h5py
    import numpy
except ImportError:
    print("skipped: python3-h5py is not installed")
    sys.exit(77)

SCRIPT = pathlib.Path(os.environ["IDREC_SOURCE_DIR"]) / "scripts" / "held-out-ranks"
ITEMS, USERS = 60, 80


def parts(draw):
    """Users like one half of the items; the test part is from the other half."""
    train, validation, test = [], [], []
    for user in range(USERS):
        half = user % 2 * ITEMS // 2
        liked = draw.sample(range(half, half + ITEMS // 2), 12)
        train.append(sorted(liked[:9]))
        validation.append(sorted(liked[9:]))
        test.append(sorted(draw.sample([item for item in range(ITEMS) if not half <= item < half + ITEMS // 2], 3)))
    return {"train": train, "validation": validation, "test": test}


def write(path, rows_of):
    with h5py.File(path, "w") as file:
        file["items/id"] = numpy.arange(ITEMS)
        for name, rows in rows_of.items():
            file[f"{name}/indptr"] = numpy.cumsum([0] + [len(row) for row in rows])
            file[f"{name}/indices"] = numpy.concatenate(rows).astype(numpy.int32)


def plain_ranks(rows_of, part, other):
    having = [{user for user, row in enumerate(rows_of["train"]) if item in row} for item in range(ITEMS)]
    cosine = [[len(a & b) / math.sqrt(max(1, len(a)) * max(1, len(b))) for b in having] for a in having]
    ranks = []
    for user, held in enumerate(rows_of[part]):
        scores = [sum(cosine[own][item] for own in rows_of["train"][user]) for item in range(ITEMS)]
        never = set(range(ITEMS)) - set(rows_of["train"][user]) - set(rows_of[other][user]) - set(held)
        for item in held:
            above = sum(scores[one] > scores[item] + 1e-9 for one in never)
            same = sum(abs(scores[one] - scores[item]) <= 1e-9 for one in never)
            ranks.append(above + same / 2)
    return ranks


def main():
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "dataset.h5"
        rows_of = parts(random.Random(5))
        write(path, rows_of)
        result = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, timeout=120)
        check(result.returncode == 0, result.stderr)
        printed = {line.split()[0]: line.split() for line in result.stdout.splitlines()[1:]}
        for part, other in (("validation", "test"), ("test", "validation")):
            ranks = plain_ranks(rows_of, part, other)
            _, pairs, median, below, _ = printed[part]
            check(int(pairs) == len(ranks), f"{part}: {pairs} of {len(ranks)} items")
            check(abs(float(median) - statistics.median(ranks)) <= 0.5, f"{part}: median {median}, {statistics.median(ranks)}")
            share = 100 * sum(rank < 20 for rank in ranks) / len(ranks)
            check(abs(float(below) - share) <= 1, f"{part}: {below} % below 20, {share} %")
        check(float(printed["test"][2]) > 2 * float(printed["validation"][2]), f"the parts are told apart: {result.stdout}")
        for other, message in ((SCRIPT, "is no data set"), (path.with_name("none.h5"), "no such file")):
            result = subprocess.run([sys.executable, SCRIPT, other], capture_output=True, text=True, timeout=120)
            check(result.returncode == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1,
                  f"{other}: {result.returncode} {result.stderr}")
    return status()


if __name__ == "__main__":
    sys.exit(main())
