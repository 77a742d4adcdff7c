"""Studies of real fits of which it is known what is true, compared by the program itself: python3 simulate_null.py FOLDER

Three recommenders are fitted on artificial data with 800 seeds, and with 200 more on the same data less a fifth of the train
rows. A study takes six groups of five seeds and holds five of them against the sixth with `idrec compare`: arms that are the
same but for their seeds, or, planted, two of them with fewer rows. Printed: how many studies see a difference that is not
there, with and without the correction and by each test alone, and how many that were planted are found. A folder that is there
is gone on with. Not part of ctest: it takes some minutes.
"""

import itertools
import json
import pathlib
import random
import subprocess
import sys

from checking import IDREC

SEEDS, GROUPS, THIN_GROUPS, ARMS, STUDIES = 5, 160, 40, 5, 200
CONFIG = """\
data: {split: {method: provided, train: PLACE.tsv, validation: validation.tsv, test: test.tsv}, format: tsv,
       columns: {user: 0, item: 1}, k_core: 0}
recommenders:
  - {model: bpr_mf, width: 8, epochs: 15, learning_rate: 2.0e-2}
  - {model: lightgcn, width: 8, layers: 2, epochs: 15, learning_rate: 2.0e-2}
  - {model: xsimgcl, width: 8, layers: 2, epochs: 15, learning_rate: 2.0e-2}
experiment: {seeds: 5, arms: [original], parallel: 1}
evaluate: {k: [10], metrics: [ndcg], resamples: 200, flips: 5000}
"""


def idrec(folder, *arguments):
    result = subprocess.run([IDREC, *arguments], cwd=folder, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"idrec {' '.join(arguments)}: {result.stderr[-500:]}")
    return result.stdout


def write_pairs(path, pairs):
    path.write_text("".join(f"{user}\t{item}\n" for user, item in pairs))


def thinned(pairs, generator):
    """Without a fifth of the rows; every user and item keeps one."""
    first = {}
    for pair in pairs:
        first.setdefault(("user", pair[0]), pair)
        first.setdefault(("item", pair[1]), pair)
    kept = set(first.values())
    others = [pair for pair in pairs if pair not in kept]
    gone = set(generator.sample(others, min(len(others), len(pairs) // 5)))
    return [pair for pair in pairs if pair not in gone]


def make_data(folder):
    generator = random.Random(1)
    idrec(folder, "synthesize", "data.inter", "--users=300", "--items=120", "--interactions=20", "--factors=4", "--blocks=4")
    pairs = sorted({tuple(line.split("\t")[:2]) for line in (folder / "data.inter").read_text().splitlines()[1:]})
    generator.shuffle(pairs)
    tenth = len(pairs) // 10
    train = pairs[2 * tenth:]
    known = [{pair[place] for pair in train} for place in (0, 1)]
    for name, part in (("validation", pairs[:tenth]), ("test", pairs[tenth:2 * tenth])):
        write_pairs(folder / f"{name}.tsv", [pair for pair in part if pair[0] in known[0] and pair[1] in known[1]])
    write_pairs(folder / "train.tsv", train)
    write_pairs(folder / "thin.tsv", thinned(train, generator))
    for place in ("train", "thin"):
        (folder / f"{place}.yaml").write_text(CONFIG.replace("PLACE", place))


def fit(folder, place, group):
    name = f"groups/{place}-{group}"
    for stage in ("prepare", "train"):
        idrec(folder, stage, f"{place}.yaml", f"output={name}", f"seed={1 + SEEDS * group}")
    return name


def compare(folder, base, arms):
    return json.loads(idrec(folder, "compare", base, *arms, "--metric=ndcg@10", "--json"))["comparisons"]


def is_null(record):
    return "thin" not in record["run"]


class Outcome:
    """What the comparisons of all studies said."""

    def __init__(self):
        self.wrong = {"p_holm": 0, "p, not corrected": 0, "p_seeds, Bonferroni": 0, "p_users, Bonferroni": 0}
        self.studies, self.nulls, self.planted = 0, [], []

    def add(self, records):
        nulls = [record for record in records if is_null(record)]
        self.studies += 1
        self.nulls += nulls
        self.planted += [record for record in records if not is_null(record)]
        for name, p in (("p_holm", lambda record: record["p_holm"]), ("p, not corrected", lambda record: record["p"]),
                        ("p_seeds, Bonferroni", lambda record: record["p_seeds"] * record["family"]),
                        ("p_users, Bonferroni", lambda record: record["p_users"] * record["family"])):
            self.wrong[name] += any(p(record) < 0.05 for record in nulls)

    def print(self, title):
        print(f"{title}: {self.studies} studies, {len(self.nulls + self.planted) // self.studies} comparisons each")
        for name, count in self.wrong.items():
            print(f"  studies that see what is not there by {name}: {count} ({count / self.studies:.1%})")
        for recommender, group in itertools.groupby(sorted(self.nulls, key=lambda record: record["recommender"]),
                                                    lambda record: record["recommender"]):
            records = list(group)
            share = {key: sum(record[key] < 0.05 for record in records) / len(records) for key in ("p_seeds", "p_users", "p")}
            covered = sum(record["ci95"][0] <= 0 <= record["ci95"][1] for record in records) / len(records)
            print(f"  {recommender}, nothing planted: {len(records)} comparisons, below 0.05: p_seeds {share['p_seeds']:.1%}, "
                  f"p_users {share['p_users']:.1%}, p {share['p']:.1%}; {covered:.1%} of the intervals hold 0")
        for recommender, group in itertools.groupby(sorted(self.planted, key=lambda record: record["recommender"]),
                                                    lambda record: record["recommender"]):
            records = list(group)
            found = sum(record["p_holm"] < 0.05 and record["difference"] < 0 for record in records)
            gain, detectable = (sum(record[key] for record in records) / len(records)
                                for key in ("relative_gain", "detectable_relative_gain"))
            print(f"  {recommender}, planted: {found} of {len(records)} found; mean gain {gain:.1%}, "
                  f"detectable {detectable:.1%}")


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    if not (folder / "thin.yaml").exists():
        make_data(folder)
    same = [fit(folder, "train", group) for group in range(GROUPS)]
    thin = [fit(folder, "thin", group) for group in range(GROUPS, GROUPS + THIN_GROUPS)]
    for title, planted in (("nothing planted", 0), ("two arms of five with a fifth fewer rows", 2)):
        outcome, generator = Outcome(), random.Random(2)
        for _ in range(STUDIES if planted == 0 else STUDIES // 2):
            base, *arms = generator.sample(same, 1 + ARMS - planted)
            outcome.add(compare(folder, base, arms + generator.sample(thin, planted)))
        outcome.print(title)


if __name__ == "__main__":
    main()
