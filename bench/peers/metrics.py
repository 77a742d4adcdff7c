"""Metrics of a run beside those that RecBole's and elliot's own code computes from the same lists.

    ELLIOT=checkout python metrics.py RUN_FOLDER

The checkout is github.com/sisinflab/elliot. Needs recbole, torch, h5py, numpy, scipy, pandas. The run may have any
recommenders, arms and seeds; its lists must be full. Every value of results.json is read: theirs is the mean over the seeds of
what their classes return, and ours is put into theirs by the differences that docs/metrics.md names. Prints, for the first
recommender and arm at the smallest cut, ours, theirs and ours put into theirs, and the largest difference over all
recommenders, arms and cuts (of values above 1 relative to them); then the differences of recall and NDCG by groups. Status 1
where a difference exceeds 1e-9 that is not explained.
"""
import collections
import glob
import importlib
import json
import math
import os
import sys
import types

import h5py
import numpy as np
import scipy.sparse
import torch

np.float = float  # RecBole 1.2.1 uses the name that NumPy has dropped
sys.path.insert(0, os.environ["ELLIOT"])

recbole = importlib.import_module("recbole.evaluator.metrics")
DataStruct = importlib.import_module("recbole.evaluator.collector").DataStruct
elliot = importlib.import_module("elliot.evaluation.metrics")
Popularity = importlib.import_module("elliot.evaluation.popularity_utils.popularity").Popularity
Relevance = importlib.import_module("elliot.evaluation.relevance.relevance").Relevance

TOLERANCE = 1e-9
ACCURACY = ("recall", "ndcg", "precision", "hit", "mrr", "map")


# ---- the run --------------------------------------------------------------------------------------------------


class Run:
    def __init__(self, folder):
        self.folder = folder
        with h5py.File(os.path.join(folder, "dataset.h5")) as file:
            self.names = {of: {name.decode(): number for number, name in enumerate(file[of + "/id"][:])}
                          for of in ("users", "items")}
            self.train, self.validation, self.test = (self.rows(file[part]) for part in ("train", "validation", "test"))
        self.users, self.items = len(self.names["users"]), len(self.names["items"])
        self.popularity = np.bincount(np.concatenate(self.train), minlength=self.items)
        with open(os.path.join(folder, "results.json")) as file:
            self.results = json.load(file)
        order = sorted(range(self.items), key=lambda item: (-self.popularity[item], item))
        self.decile = {item: place * 10 // self.items for place, item in enumerate(order)}

    @staticmethod
    def rows(group):
        starts, indices = group["indptr"][:], group["indices"][:]
        return [indices[a:b].astype(int) for a, b in zip(starts, starts[1:])]

    def lists(self, folder):
        lists = collections.defaultdict(list)
        with open(os.path.join(folder, "top_k.tsv")) as file:
            for line in file:
                user, item, _, _ = line.rstrip("\n").split("\t")
                lists[self.names["users"][user]].append(self.names["items"][item])
        return lists

    def seeds(self, label, arm):
        place = os.path.join(glob.escape(self.folder), "recommenders", label, arm, "seed-*")
        return [self.lists(folder) for folder in sorted(glob.glob(place))]

    def history_groups(self, wanted):
        """The group of each user: no boundary parts users of one length."""
        lengths = sorted(len(row) for row, truth in zip(self.train, self.test) if len(truth))
        quantiles = {lengths[math.ceil(b * len(lengths) / wanted) - 1] for b in range(1, wanted)}
        return [sum(len(row) > bound for bound in quantiles if bound < lengths[-1]) for row in self.train]

    def ours(self, label, arm, k):
        values = [{name: run["metrics"][f"{name}@{k}"] for name in ACCURACY} for run in self.results["runs"]
                  if (run["recommender"], run["arm"]) == (label, arm)]
        means = {name: sum(value[name] for value in values) / len(values) for name in ACCURACY}
        fit = next(fit for fit in self.results["audit"]["fits"]
                   if (fit["recommender"], fit["arm"], fit["k"]) == (label, arm, k))
        means.update((name, value["mean"]) for name, value in fit["exposure"].items())
        return means, fit["groups"]


# ---- RecBole --------------------------------------------------------------------------------------------------


def recbole_data(lists, truth, items, counts):
    """What its collector hands to its metrics."""
    data = DataStruct()
    hits = [[int(item in truth[user]) for item in row] + [len(truth[user])] for user, row in lists.items()]
    data.set("rec.topk", torch.tensor(hits))
    data.set("rec.items", torch.tensor(list(lists.values())))
    data.set("data.num_items", items)
    data.set("data.count_items", counts)
    return data


def recbole_value(metric, data, k, tail_ratio=None):
    config = {"metric_decimal_place": 17, "topk": [k], "tail_ratio": tail_ratio}
    (value,) = getattr(recbole, metric)(config).calculate_metric(data).values()
    return float(value)


def recbole_values(run, lists, k, tail):
    """Items count from 1 and padding is an item; `as ours`: our long tail, for which numbers run backwards."""
    numbered = {user: [item + 1 for item in row] for user, row in lists.items()}
    truth = [set(row + 1) for row in run.test]
    seen = collections.Counter({item + 1: int(c) for item, c in enumerate(run.popularity) if c})
    data = recbole_data(numbered, truth, run.items + 1, seen)
    values = {name: recbole_value(name, data, k) for name in
              ("Recall", "NDCG", "Precision", "Hit", "MRR", "MAP", "GiniIndex", "ShannonEntropy", "ItemCoverage",
               "AveragePopularity", "TailPercentage")}
    backwards = {user: [run.items - item for item in row] for user, row in lists.items()}
    every = collections.Counter({run.items - item: int(c) for item, c in enumerate(run.popularity)})
    data = recbole_data(backwards, [set(run.items - row) for row in run.test], run.items, every)
    values["TailPercentage, our tail"] = recbole_value("TailPercentage", data, k, (len(tail) + 0.5) / run.items)
    return values


# ---- elliot ---------------------------------------------------------------------------------------------------


def elliot_objects(run, k, hidden, truth, items, head_share):
    """What its evaluator hands to its metrics. `items`: its catalogue; `hidden`: what it calls train."""
    private = dict(enumerate(items))
    matrix = scipy.sparse.csr_matrix((np.ones(sum(map(len, run.train))), (
        np.repeat(np.arange(run.users), [len(row) for row in run.train]), np.concatenate(run.train))),
        shape=(run.users, run.items))[:, items]
    data = types.SimpleNamespace(train_dict={user: dict.fromkeys(row, 1.0) for user, row in enumerate(hidden)},
                                 private_items=private, sp_i_train=matrix, transactions=int(matrix.sum()))
    ratings = {user: dict.fromkeys(row, 1.0) for user, row in enumerate(truth)}
    return types.SimpleNamespace(cutoff=k, num_items=len(items), data=data, pop=Popularity(data, head_share),
                                 relevance=Relevance(ratings, 1))


def elliot_value(name, lists, objects):
    scored = {user: [(item, -place) for place, item in enumerate(row)] for user, row in lists.items()}
    with np.errstate(invalid="ignore"):
        return float(elliot.parse_metric(name)(scored, None, None, objects).eval())


def elliot_values(run, lists, k, head_share):
    hidden = [np.concatenate(parts) for parts in zip(run.train, run.validation)]
    catalogue = elliot_objects(run, k, hidden, run.test, list(range(run.items)), head_share)
    values = {name: elliot_value(name, lists, catalogue) for name in
              ("Recall", "nDCG", "nDCGRendle2020", "Precision", "HR", "MRR", "MAP", "Gini", "SEntropy", "ItemCoverage", "ARP",
               "APLT", "ACLT", "PopREO", "PopRSP")}
    own = elliot_objects(run, k, run.train, run.test, list(range(run.items)), head_share)
    values["PopRSP, train alone"] = elliot_value("PopRSP", lists, own)
    values["PopREO, train alone"] = elliot_value("PopREO", lists, own)
    trained = [item for item in range(run.items) if run.popularity[item]]
    if all(run.popularity[item] for row in lists.values() for item in row):
        own = elliot_objects(run, k, hidden, run.test, trained, head_share)
        for name in ("Gini", "APLT", "ACLT", "PopREO", "PopRSP"):
            values[f"{name}, items of train"] = elliot_value(name, lists, own)
    return values, catalogue.pop.get_long_tail()


# ---- ours put into theirs ----------------------------------------------------------------------------------------


def same(name):
    return lambda ours, run, shown: ours[name]


def gini_with_padding(ours, run, shown):
    return (run.items * ours["gini"] + 1) / (run.items + 1)


def entropy_of_recbole(ours, run, shown):
    return ours["entropy"] * math.log(2) / shown


def evenness(ours, run, shown):
    return 1 - ours["gini"] * run.items / (run.items - 1)


def evenness_of_train(ours, run, shown):
    items = int((run.popularity > 0).sum())
    return 1 - (run.items * ours["gini"] - (run.items - items)) / (items - 1)


# Theirs; ours; ours as theirs, None where no formula leads from one to the other; why.
MEASURES = {
    "RecBole": [
        ("Recall", "recall", same("recall"), "the same"),
        ("NDCG", "ndcg", same("ndcg"), "the same"),
        ("Precision", "precision", same("precision"), "the same"),
        ("Hit", "hit", same("hit"), "the same"),
        ("MRR", "mrr", same("mrr"), "the same"),
        ("MAP", "map", same("map"), "the same"),
        ("GiniIndex", "gini", gini_with_padding, "n + 1 items, one of padding: (n g + 1) / (n + 1)"),
        ("ShannonEntropy", "entropy", entropy_of_recbole, "nats, over the number of distinct items shown (where all seeds show equally many)"),
        ("ItemCoverage", "coverage", lambda ours, run, shown: ours["coverage"] * run.items / (run.items + 1),
         "n + 1 items: times n / (n + 1)"),
        ("AveragePopularity", "arp", same("arp"), "the same"),
        ("TailPercentage", "aplt", None, "another tail: the least popular tenth of the items of train"),
        ("TailPercentage, our tail", "aplt", same("aplt"), "the same"),
    ],
    "elliot": [
        ("Recall", "recall", same("recall"), "the same"),
        ("nDCG", "ndcg", same("ndcg"), "the same for relevance 0 or 1"),
        ("nDCGRendle2020", "ndcg", same("ndcg"), "the same"),
        ("Precision", "precision", same("precision"), "the same"),
        ("HR", "hit", same("hit"), "the same"),
        ("MRR", "mrr", same("mrr"), "the same"),
        ("MAP", "map", None, "mean of precision@1 ... precision@k, hit or not"),
        ("Gini", "gini", evenness, "1 - n / (n - 1) g"),
        ("SEntropy", "entropy", same("entropy"), "the same for lists of one length"),
        ("ItemCoverage", "coverage", lambda ours, run, shown: ours["coverage"] * run.items, "times n"),
        ("ARP", "arp", same("arp"), "the same"),
        ("APLT", "aplt", same("aplt"), "the same"),
        ("ACLT", "aclt", same("aclt"), "the same"),
        ("PopREO", "pop_reo", same("pop_reo"), "the same"),
        ("PopRSP", "pop_rsp", same("pop_rsp"), "the same, given train and validation as what is hidden"),
        ("PopREO, train alone", "pop_reo", same("pop_reo"), "given train alone as hidden: the same"),
        ("PopRSP, train alone", "pop_rsp", None, "given train alone as hidden: validation items are candidates"),
        ("Gini, items of train", "gini", evenness_of_train, "with the m items of train as n: 1 - (n g - (n - m)) / (m - 1)"),
        ("APLT, items of train", "aplt", same("aplt"), "the same where no list shows such an item"),
        ("ACLT, items of train", "aclt", same("aclt"), "the same where no list shows such an item"),
        ("PopREO, items of train", "pop_reo", None, "test items that train lacks are not counted"),
        ("PopRSP, items of train", "pop_rsp", None, "items that train lacks are no candidates"),
    ],
}


def difference(a, b):
    """Relative to values above 1; two undefined values are the same."""
    return 0.0 if math.isnan(a) and math.isnan(b) else abs(a - b) / max(1.0, abs(b))


def defined(value):
    return math.nan if value is None else value


class Line:
    """A measure over all fits."""

    def __init__(self, project, theirs, ours, convert, reason):
        self.project, self.theirs, self.ours, self.convert, self.reason = project, theirs, ours, convert, reason
        self.largest, self.count, self.example = 0.0, 0, None

    def add(self, run, ours, theirs, shown):
        converted = None if self.convert is None else defined(self.convert(ours, run, shown))
        self.count += 1
        self.largest = max(self.largest, difference(theirs, ours[self.ours] if converted is None else converted))
        self.example = (ours[self.ours], theirs, converted)

    def failed(self):
        return self.convert is not None and not self.largest <= TOLERANCE

    def text(self):
        ours, theirs, converted = self.example
        verdict = ("DIFFERS" if self.failed() else "equal" if self.convert else "not comparable")
        return (f"{self.project:8}{self.theirs:26}{ours:18.11g}{theirs:18.11g}"
                f"{'' if converted is None else format(converted, '.11g'):>18}{self.largest:10.1e}{self.count:5}  "
                f"{verdict}: {self.reason}")


def mean(values):
    return sum(values) / len(values)


def compare(run, lines, label, arm, k, groups):
    """All measures of one recommender in one arm at one cut, means over the seeds."""
    ours, audit = run.ours(label, arm, k)
    ours = {name: defined(value) for name, value in ours.items()}
    found = collections.defaultdict(list)
    seeds = [{user: row[:k] for user, row in lists.items()} for lists in run.seeds(label, arm)]
    shown = {len({item for row in lists.values() for item in row}) for lists in seeds}
    for lists in seeds:
        assert all(len(row) == k for row in lists.values()), "a list is not full"
        values, tail = elliot_values(run, lists, k, run.results["audit"]["head_share"])
        for name, value in values.items():
            found["elliot", name].append(value)
        for name, value in recbole_values(run, lists, k, tail).items():
            found["RecBole", name].append(value)
    for line in lines:
        values = found.get((line.project, line.theirs), [])
        # A mean over seeds cannot be divided by the number of items that each shows.
        if len(values) == len(seeds) and (line.theirs != "ShannonEntropy" or len(shown) == 1):
            line.add(run, ours, mean(values), min(shown))
    compare_groups(run, groups, seeds, k, {entry["by"]: entry for entry in audit})


def compare_groups(run, groups, seeds, k, audit):
    """recall and NDCG by history and by popularity: of a group's users; of test items of the group alone."""
    of_user = run.history_groups(len(audit["history"]["recall"]))
    for by, of in (("history", of_user), ("popularity", run.decile)):
        for group in range(len(audit[by]["recall"])):
            truth = [{item for item in row if by == "history" or of[item] == group} for row in run.test]
            values = collections.defaultdict(list)
            for lists in seeds:
                rows = {user: row for user, row in lists.items() if truth[user] and (by != "history" or of[user] == group)}
                data = recbole_data(rows, truth, run.items, collections.Counter())
                objects = elliot_objects(run, k, run.train, truth, list(range(run.items)), 0.8)
                for name, theirs, elliots in (("recall", "Recall", "Recall"), ("ndcg", "NDCG", "nDCG")):
                    values["RecBole", name].append(recbole_value(theirs, data, k))
                    values["elliot", name].append(elliot_value(elliots, rows, objects))
            for (project, name), of_seeds in values.items():
                record = groups.setdefault((project, by, name), [0.0, 0])
                record[0] = max(record[0], difference(mean(of_seeds), audit[by][name][group]))
                record[1] += 1


def main():
    run = Run(sys.argv[1])
    fits = [(fit["recommender"], fit["arm"], fit["k"]) for fit in run.results["audit"]["fits"]]
    lines = [Line(project, *measure) for project, measures in MEASURES.items() for measure in measures]
    groups = {}
    print(f"{run.users} users, {run.items} items, {int((run.popularity == 0).sum())} of them without a train row")
    print(f"{len(fits)} fits and cuts: {', '.join(f'{label} {arm} @{k}' for label, arm, k in fits)}")
    for label, arm, k in reversed(fits):
        compare(run, lines, label, arm, k, groups)
    print(f"\n{'':8}{'theirs':26}{'ours':>18}{'theirs':>18}{'ours as theirs':>18}{'largest':>10}{'of':>5}")
    for line in lines:
        if line.count:
            print(line.text())
    print("\nrecall and NDCG of groups: the largest difference from their classes, given the group alone")
    for (project, by, name), (largest, count) in groups.items():
        print(f"{project:8}{name} by {by}: {largest:.1e} of {count}")
    failed = [line for line in lines if line.failed()]
    print(f"\n{len(failed)} measures differ without an explanation")
    return 1 if failed or any(not largest <= TOLERANCE for largest, _ in groups.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
