"""The audit of results.json and the quality of generated rows, recomputed from the run's lists and HDF5 files.

Everything is computed a second time, by other formulas where there are any (Gini as a mean difference of all pairs, NDCG of a
list of zeros and ones), from top_k.tsv, dataset.h5 and augmented.h5 as h5dump prints them, and the planted truth. RecBole's
and elliot's definitions follow as formulas of their own; where they differ from ours, the test says by what factor.
"""

import collections
import csv
import json
import math
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

from checking import SOURCE, check, idrec, status, synthesize

USERS, ITEMS = 120, 70
CONFIG = """\
name: audit
threads: 2
data: {path: artificial.inter, split: {ratios: [0.6, 0.2, 0.2]}}
language_model: {layers: 1, width: 16, heads: 2}
pretrain: {epochs: 3}
finetune: {epochs: 1}
generate: {method: sampling, contexts: 1, samples: 6, max_items: 6, temperature: 1.0}
augment: {select: fixed, use: [positives], per_user: [3], ensemble: [], filters: [{name: catalogue}, {name: seen},
  {name: duplicate}, {name: history_quantile, quantile: 0.9}]}
recommenders:
- {model: item_knn}
- {model: bpr_mf, width: 8, epochs: 15, learning_rate: 0.01}
experiment: {seeds: 2, arms: [original, augmented, control.random]}
evaluate:
  k: [4, 12]
  history_groups: 3
  head_share: 0.7
  attributes:
  - {of: user, path: users.tsv, id: user_id, column: country}
  - {of: item, path: items.csv, id: 1, column: 2}
"""
LABELS = ["item_knn", "bpr_mf"]
ARMS = ["original", "augmented", "control.random"]


# ---- what the run holds ---------------------------------------------------------------------------------------


def dump(path, name):
    """A data set of an HDF5 file, as h5dump prints it."""
    text = subprocess.run(["h5dump", "-d", name, "-y", "-w", "0", "-m", "%.9g", path], capture_output=True, text=True,
                          check=True).stdout
    body = text[text.index("DATA {") + 6:]
    words = body[:body.index("}")].replace(",", " ").split()
    return [word.strip('"').replace("\\000", "") if word.startswith('"') else float(word) for word in words]


def rows_of(path, group):
    starts, indices = dump(path, f"{group}/indptr"), dump(path, f"{group}/indices")
    return [[int(item) for item in indices[int(a):int(b)]] for a, b in zip(starts, starts[1:])]


class Run:
    """The data set in its numbers, the synthetic rows, and what is known of items."""

    def __init__(self, folder, truth_file):
        self.folder = folder
        data = folder / "dataset.h5"
        self.user_names, self.item_names = dump(data, "/users/id"), dump(data, "/items/id")
        self.users, self.items = len(self.user_names), len(self.item_names)
        self.train, self.validation, self.test = (rows_of(data, part) for part in ("train", "validation", "test"))
        self.popularity = collections.Counter(item for row in self.train for item in row)
        order = sorted(range(self.items), key=lambda item: (-self.popularity[item], item))
        self.decile = {item: place * 10 // self.items for place, item in enumerate(order)}
        self.tail, total = set(), 0
        for item in order:
            if total >= 0.7 * sum(self.popularity.values()):
                self.tail.add(item)
            total += self.popularity[item]
        self.read_synthetic()
        numbers = {name: number for number, name in enumerate(self.item_names)}
        planted = dict(zip(dump(truth_file, "/users/id"), rows_of(truth_file, "/preferred")))
        planted_items = dump(truth_file, "/items/id")
        self.preferred = [{numbers[planted_items[i]] for i in planted[name] if planted_items[i] in numbers}
                          for name in self.user_names]
        self.results = json.loads((folder / "results.json").read_text())

    def read_synthetic(self):
        columns = [dump(self.folder / "augmented.h5", "/" + name) for name in ("user", "item", "source", "votes", "rank")]
        self.synthetic = [[] for _ in range(self.users)]
        self.votes = [[] for _ in range(self.users)]
        for user, item, source, votes, rank in zip(*columns):
            if source:
                self.synthetic[int(user)].append(int(item))
                self.votes[int(user)].append(int(votes))
                check(rank == len(self.synthetic[int(user)]), "ranks of augmented.h5 count from 1")

    def lists(self, label, arm, seed):
        users = {name: number for number, name in enumerate(self.user_names)}
        items = {name: number for number, name in enumerate(self.item_names)}
        lists = [[] for _ in range(self.users)]
        for line in (self.folder / "recommenders" / label / arm / f"seed-{seed}" / "top_k.tsv").read_text().splitlines():
            user, item, _, _ = line.split("\t")
            lists[users[user]].append(items[item])
        return lists


# ---- measures -------------------------------------------------------------------------------------------------


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values) if values else math.nan


def gini(counts):
    """Mean absolute difference of all pairs over twice the mean."""
    differences = sum(abs(a - b) for a in counts for b in counts)
    return differences / (2 * len(counts) * sum(counts)) if sum(counts) else math.nan


def deviation_over_mean(values):
    return statistics.pstdev(values) / statistics.mean(values) if any(values) else math.nan


def exposure(run, lists, hidden, truth):
    shown = [row for row in lists if row]
    counts = collections.Counter(item for row in shown for item in row)
    total = sum(counts.values())
    owned = [(user, row) for user, row in enumerate(lists) if row and run.train[user]]
    values = {
        "gini": gini([counts[item] for item in range(run.items)]),
        "entropy": math.fsum(-c / total * math.log(c / total) for c in counts.values()) / math.log(2),
        "coverage": len(counts) / run.items,
        "arp": mean(mean(run.popularity[item] for item in row) for row in shown),
        "popularity_lift": lift(run, owned),
        "novelty": mean(mean(math.log2(run.users / max(run.popularity[item], 1)) for item in row) for row in shown),
        "aplt": mean(mean(item in run.tail for item in row) for row in shown),
        "aclt": mean(sum(item in run.tail for item in row) for row in shown),
        "tail_coverage": len(set(counts) & run.tail) / len(run.tail),
    }
    sides = [set(range(run.items)) - run.tail, run.tail]
    parts = [sum(len(set(row) & side) for row in shown) /
             sum(len(side - set(hidden[user])) for user, row in enumerate(lists) if row) for side in sides]
    values["pop_rsp"] = deviation_over_mean(parts)
    if truth:
        found = [sum(len(set(row) & side & set(truth[user])) for user, row in enumerate(lists)) /
                 sum(len(side & set(row)) for row in truth) for side in sides]
        values["pop_reo"] = deviation_over_mean(found)
    return values


def lift(run, owned):
    if not owned:
        return math.nan
    shown = mean(mean(run.popularity[item] for item in row) for _, row in owned)
    return shown / mean(mean(run.popularity[item] for item in run.train[user]) for user, _ in owned) - 1


def user_metrics(row, truth, k):
    hits = [float(item in truth) for item in row] + [0.0] * (k - len(row))
    best = [1.0] * min(k, len(truth)) + [0.0] * (k - min(k, len(truth)))
    gain = [sum(value / math.log2(place + 2) for place, value in enumerate(values)) for values in (hits, best)]
    return sum(hits) / len(truth), gain[0] / gain[1]


def history_groups(run, wanted):
    """The group of every user, and the names."""
    lengths = sorted(len(run.train[user]) for user in range(run.users) if run.test[user])
    bounds = []
    for b in range(1, wanted):
        bound = lengths[math.ceil(b * len(lengths) / wanted) - 1]
        if bound < lengths[-1] and bound not in bounds:
            bounds.append(bound)
    return [sum(len(row) > bound for bound in bounds) for row in run.train], len(bounds) + 1


def group_metrics(run, lists, k, of, count, of_items):
    """recall and ndcg of each group."""
    found = [[] for _ in range(count)]
    for user in range(run.users):
        for group in range(count) if of_items else [of[user]]:
            truth = {item for item in run.test[user] if not of_items or of[item] == group}
            if truth and group >= 0:
                found[group].append(user_metrics(lists[user], truth, k))
    return [[mean(values[m] for values in group) for group in found] for m in (0, 1)]


# ---- the audit ------------------------------------------------------------------------------------------------


def same(found, expected):
    if found is None or expected is None or math.isnan(expected):
        return found is None and (expected is None or math.isnan(expected))
    return abs(found - expected) <= 1e-9 * max(1.0, abs(expected))


def check_same(found, expected, what):
    check(same(found, expected), f"{what}: written {found!r}, recomputed {expected!r}")


def check_list(found, expected, what):
    check(len(found) == len(expected), f"{what}: {len(found)} values for {len(expected)}")
    for group, (a, b) in enumerate(zip(found, expected)):
        check_same(a, b, f"{what}, group {group}")


def groupings_of(run, countries, genres):
    history, count = history_groups(run, 3)
    names = {entry["by"]: [group["name"] for group in entry["groups"]] for entry in run.results["audit"]["groupings"]}
    country = [names["country"].index(countries[name]) if name in countries else -1 for name in run.user_names]
    genre = [names["item column 2"].index(genres[name]) if name in genres else -1 for name in run.item_names]
    check(len(names["history"]) == count, "groups of history")
    return [("history", history, count, False), ("popularity", run.decile, 10, True),
            ("country", country, len(names["country"]), False), ("item column 2", genre, len(names["item column 2"]), True)]


def check_groupings(run, groupings):
    for (name, of, count, of_items), entry in zip(groupings, run.results["audit"]["groupings"]):
        members = range(run.items if of_items else run.users)
        check(entry["by"] == name and entry["of"] == ("item" if of_items else "user"), f"{name} is in its place")
        check(entry["without"] == sum(of[member] < 0 for member in members), f"{name}: members without a group")
        for group, record in enumerate(entry["groups"]):
            check(record["members"] == sum(of[member] == group for member in members), f"{name}: members of {record}")
            tested = (sum(of[item] == group for row in run.test for item in row) if of_items else
                      sum(of[user] == group and len(run.test[user]) > 0 for user in members))
            check(record["test_rows" if of_items else "test_users"] == tested, f"{name}: tested of {record}")


def fit_values(run, lists, k, groupings):
    """Every value of the audit of one fit under its path."""
    cut = [row[:k] for row in lists]
    known = [set(a) | set(b) for a, b in zip(run.train, run.validation)]
    values = {("exposure", name): value for name, value in exposure(run, cut, known, run.test).items()}
    for name, of, count, of_items in groupings:
        recall, ndcg = group_metrics(run, cut, k, of, count, of_items)
        places = [item for row in cut for item in row]
        for group in range(count):
            values[name, "recall", group], values[name, "ndcg", group] = recall[group], ndcg[group]
            if of_items:
                values[name, "exposure", group] = sum(of[item] == group for item in places) / len(places)
            else:
                owned = [(user, row) for user, row in enumerate(cut) if row and run.train[user] and of[user] == group]
                values[name, "popularity_lift", group] = lift(run, owned)
    return values


def check_fit(run, record, groupings):
    what = f"{record['recommender']}, {record['arm']}, k {record['k']}"
    seeds = [fit_values(run, run.lists(record["recommender"], record["arm"], seed), record["k"], groupings)
             for seed in (1, 2)]
    for (kind, name), _ in [item for item in seeds[0].items() if item[0][0] == "exposure"]:
        found, expected = record["exposure"][name], [values[kind, name] for values in seeds]
        check_same(found["mean"], mean(expected), f"{what}: {name}")
        check_same(found["deviation"], statistics.stdev(expected), f"{what}: deviation of {name}")
    check(len(record["exposure"]) == 11, f"{what}: all measures are there")
    for (by, _, count, of_items), entry in zip(groupings, record["groups"]):
        for name in ("recall", "ndcg", "exposure" if of_items else "popularity_lift"):
            expected = [mean(values[by, name, group] for values in seeds) for group in range(count)]
            check_list(entry[name], expected, f"{what}: {name} by {by}")
            if name in ("recall", "ndcg"):
                known = [value for value in expected if not math.isnan(value)]
                check_same(entry["worst"][name]["value"], min(known), f"{what}: worst {name} by {by}")
                check_same(entry["worst"][name]["gap"], max(known) - min(known), f"{what}: gap of {name} by {by}")


def check_rows(run, record, rows, groupings, real):
    what = f"rows of {record['rows']}"
    check(record["count"] == sum(map(len, rows)) and record["users"] == sum(map(bool, rows)), f"{what}: counts")
    expected = exposure(run, rows, run.train if not real else [[]] * run.users, None)
    for name, value in record["exposure"].items():
        check_same(value, math.nan if real and name == "pop_rsp" else expected[name], f"{what}: {name}")
    check(set(record["exposure"]) == set(expected), f"{what}: all measures are there")
    for (by, of, count, of_items), entry in zip(groupings, record["groups"]):
        owners = [(user, item) for user, row in enumerate(rows) for item in row]
        counts = [sum(of[item if of_items else user] == group for user, item in owners) for group in range(count)]
        check(entry["rows"] == counts, f"{what}: rows by {by}")
        check_list(entry["share"], [value / len(owners) for value in counts], f"{what}: shares by {by}")
        if not of_items:
            users = [sum(bool(row) and of[user] == group for user, row in enumerate(rows)) for group in range(count)]
            check(entry["users"] == users, f"{what}: users by {by}")
            lifts = [lift(run, [(user, row) for user, row in enumerate(rows) if row and of[user] == group])
                     for group in range(count)]
            check_list(entry["popularity_lift"], lifts, f"{what}: lift by {by}")


def check_audit(run, groupings):
    audit = run.results["audit"]
    check(audit["head_share"] == 0.7 and audit["tail_items"] == len(run.tail), "the long tail")
    check_groupings(run, groupings)
    expected = [(label, arm, k) for label in LABELS for arm in ARMS for k in (4, 12)]
    check([(fit["recommender"], fit["arm"], fit["k"]) for fit in audit["fits"]] == expected, "every arm at every cut")
    for fit in audit["fits"]:
        check_fit(run, fit, groupings)
    chosen = [row[:3] for row in run.synthetic]
    sets = [("train", run.train), ("accepted", run.synthetic)] + [(f"{label}: positives-3", chosen) for label in LABELS]
    check([record["rows"] for record in audit["rows"]] == [name for name, _ in sets], "every set of rows")
    for record, (name, rows) in zip(audit["rows"], sets):
        check_rows(run, record, rows, groupings, name == "train")


# ---- other projects' definitions ------------------------------------------------------------------------------


def recbole(run, lists, k):
    """recbole/evaluator/metrics.py, for full lists; n is the catalogue (RecBole's own counts one item of padding more)."""
    counts = collections.Counter(item for row in lists for item in row)
    places, ordered, n = sum(counts.values()), sorted(counts.values()), run.items
    first = n - len(ordered) + 1
    return {
        "giniindex": sum((2 * (first + i) - n - 1) * c for i, c in enumerate(ordered)) / places / n,
        "shannonentropy": -sum(c / places * math.log(c / places) for c in ordered) / len(ordered),
        "itemcoverage": len(ordered) / n,
        "averagepopularity": sum(sum(run.popularity[item] for item in row) / k for row in lists) / len(lists),
        "tailpercentage": sum(sum(item in run.tail for item in row) / k for row in lists) / len(lists),
        "distinct": len(ordered),
    }


def elliot(run, lists, subtracted):
    """elliot/evaluation/metrics/{bias,diversity,coverage}, lists {user: items}."""
    counts = collections.Counter(item for row in lists.values() for item in row)
    norm, ordered, n = sum(counts.values()), sorted(counts.values()), run.items
    weights = collections.defaultdict(float)
    for row in lists.values():
        for item in row:
            weights[item] += 1 / len(row)
    head, tail = set(range(n)) - run.tail, run.tail
    inequality = sum((2 * (j + (n - len(ordered)) + 1) - n - 1) * (c / norm) for j, c in enumerate(ordered)) / (n - 1)
    found, relevant, shown, candidates = [0, 0], [0, 0], [0, 0], [0, 0]
    for user, row in lists.items():
        for side, group in enumerate((head, tail)):
            found[side] += len(set(row) & set(run.test[user]) & group)
            relevant[side] += len((group & set(run.test[user])) - set(subtracted[user]))
            shown[side] += len(set(row) & group)
            candidates[side] += len(group - set(subtracted[user]))
    return {
        "Gini": 1 - inequality,
        "SEntropy": sum(w * -math.log(counts[item] / norm) / math.log(2) for item, w in weights.items()) / len(lists),
        "ItemCoverage": len(counts),
        "ARP": mean(sum(run.popularity[item] for item in row) / len(row) for row in lists.values()),
        "APLT": mean(len(set(row) & tail) / len(row) for row in lists.values()),
        "ACLT": mean(len(set(row) & tail) for row in lists.values()),
        "PopREO": deviation_over_mean([a / b for a, b in zip(found, relevant)]),
        "PopRSP": deviation_over_mean([a / b for a, b in zip(shown, candidates)]),
    }


def check_others(run):
    """Lists are full and the first seed stands for itself in a deterministic recommender."""
    for arm in ("original", "augmented"):
        record = next(fit for fit in run.results["audit"]["fits"]
                      if (fit["recommender"], fit["arm"], fit["k"]) == ("item_knn", arm, 12))
        ours = {name: value["mean"] for name, value in record["exposure"].items()}
        lists = {user: row[:12] for user, row in enumerate(run.lists("item_knn", arm, 1)) if row}
        check(all(len(row) == 12 for row in lists.values()), "lists are full")
        theirs = recbole(run, list(lists.values()), 12)
        check_same(ours["gini"], theirs["giniindex"], "RecBole's GiniIndex")
        check_same(ours["entropy"], theirs["shannonentropy"] * theirs["distinct"] / math.log(2),
                   "RecBole's ShannonEntropy is ours in nats, divided by the number of distinct items shown")
        check_same(ours["coverage"], theirs["itemcoverage"], "RecBole's ItemCoverage")
        check_same(ours["arp"], theirs["averagepopularity"], "RecBole's AveragePopularity")
        check_same(ours["aplt"], theirs["tailpercentage"], "RecBole's TailPercentage, of our long tail")
        known = [set(a) | set(b) for a, b in zip(run.train, run.validation)]
        theirs = elliot(run, lists, known)
        check_same(1 - ours["gini"] * run.items / (run.items - 1), theirs["Gini"],
                   "elliot's Gini is 1 - n / (n - 1) of ours")
        check_same(ours["entropy"], theirs["SEntropy"], "elliot's SEntropy")
        check_same(ours["coverage"] * run.items, theirs["ItemCoverage"], "elliot's ItemCoverage is a number of items")
        for name, other in (("arp", "ARP"), ("aplt", "APLT"), ("aclt", "ACLT"), ("pop_reo", "PopREO"),
                            ("pop_rsp", "PopRSP")):
            check_same(ours[name], theirs[other], f"elliot's {other}")
        train_alone = elliot(run, lists, run.train)
        check(not same(ours["pop_rsp"], train_alone["PopRSP"]) and same(ours["pop_reo"], train_alone["PopREO"]),
              "elliot takes validation items for candidates, which PopRSP feels and PopREO does not")


# ---- quality of the generated rows ------------------------------------------------------------------------------


def ranges():
    starts = [1, 2, 3, 4, 5, 6, 11, 21, 51, 101]
    return [(a, b - 1 if b else None) for a, b in zip(starts, starts[1:] + [None])]


def check_hits(run, found, rows, what):
    """rows: (user, item) of one range."""
    judged = [(user, item) for user, item in rows if run.validation[user]]
    hits = sum(item in run.validation[user] for user, item in judged)
    chance = mean(len(run.validation[user]) / (run.items - len(run.train[user])) for user, _ in judged)
    check((found["rows"], found["judged"], found["hits"]) == (len(rows), len(judged), hits), f"{what}: counts {found}")
    check_same(found["hit_rate"], hits / len(judged) if judged else math.nan, f"{what}: hit rate")
    check_same(found["chance"], chance, f"{what}: chance")
    if "preferred" in found:
        check_same(found["preferred"], mean(item in run.preferred[user] for user, item in rows), f"{what}: preferred")


def check_ranges(run, quality, key, numbers):
    found = {record["from"]: record for record in quality[key]}
    for first, last in ranges():
        rows = [(user, item) for user, row in enumerate(run.synthetic) for item, number in zip(row, numbers[user])
                if first <= number <= (last or number)]
        check((first in found) == bool(rows), f"{key}: the range from {first}")
        if rows:
            check("preferred" in found[first] and found[first]["to"] == last, f"{key}: the record from {first}")
            check_hits(run, found[first], rows, f"{key} from {first}")


def neighbor_bounds(run):
    """How many rows item_knn would have given at least and at most: scores that differ by rounding may change places."""
    audience = [{user for user, row in enumerate(run.train) if item in row} for item in range(run.items)]
    size = [math.sqrt(len(users)) for users in audience]
    similarity = [[len(audience[a] & audience[b]) / (size[a] * size[b] + 10) if a != b else 0.0 for b in range(run.items)]
                  for a in range(run.items)]
    low = high = 0
    for user, row in enumerate(run.synthetic):
        seen = set(run.train[user])
        scores = {item: sum(similarity[other][item] for other in seen) for item in range(run.items) if item not in seen}
        if not row:
            continue
        last = sorted(scores.values(), reverse=True)[len(row) - 1]
        low += sum(scores[item] > last * (1 + 1e-5) + 1e-7 for item in row)
        high += sum(scores[item] >= last * (1 - 1e-5) - 1e-7 for item in row)
    return low, high


def check_pairs(run, quality):
    together = {(a, b) for row in run.train for a in row for b in row}
    pairs = [(item, other) in together for user, row in enumerate(run.synthetic) for item in row
             for other in run.train[user]]
    alone = sum(not any((item, other) in together for other in run.train[user])
                for user, row in enumerate(run.synthetic) for item in row)
    found = quality["co_occurrence"]
    check((found["pairs"], found["new_pairs"]) == (len(pairs), pairs.count(False)), f"co-occurrences {found}")
    check(0 < found["new_pairs"] < found["pairs"], "there are new pairs and old ones")
    check_same(found["new_share"], pairs.count(False) / len(pairs), "share of new co-occurrences")
    check(found["unconnected_rows"] == alone, "rows without any item that they were seen with")


def check_duplicates(run, quality):
    rows = [set(row) for row in run.synthetic if row]
    counts = collections.Counter(item for row in rows for item in row)
    shared = [sum(item in other for other in rows) - 1 for row in rows for item in row]
    found = quality["duplicates"]
    check(found["distinct_items"] == len(counts), "distinct items")
    check_same(found["distinct_share"], len(counts) / sum(counts.values()), "share of distinct items")
    check_same(found["largest_share"], max(counts.values()) / len(rows), "users who got the most frequent item")
    check_same(found["shared_with_another"], mean(shared) / (len(rows) - 1), "share with another user")
    check(found["identical_lists"] == sum(rows.count(row) > 1 for row in rows), "identical lists")


def check_quality(run):
    quality = run.results["generation_quality"]
    rows = [(user, item) for user, row in enumerate(run.synthetic) for item in row]
    check(quality["rows"] == len(rows) and quality["users"] == sum(map(bool, run.synthetic)), "counts of rows and users")
    check(any(not row for row in run.synthetic), "some users have no rows")
    check_hits(run, quality["validation"], rows, "all rows")
    check_ranges(run, quality, "by_rank", [range(1, len(row) + 1) for row in run.synthetic])
    check_ranges(run, quality, "by_votes", run.votes)
    check(len(quality["by_votes"]) > 2, "votes differ")
    truth = quality["truth"]
    check(truth["preferred"] == sum(item in run.preferred[user] for user, item in rows), "preferred rows")
    check_same(truth["share"], truth["preferred"] / len(rows), "share of preferred rows")
    check_same(truth["chance"], mean(len(run.preferred[user] - set(run.train[user])) /
                                     (run.items - len(run.train[user])) for user, _ in rows), "preferred by chance")
    low, high = neighbor_bounds(run)
    found = quality["item_knn"]
    check(low <= found["common"] <= high and high - low < 0.1 * len(rows), f"agreement {found} in [{low}, {high}]")
    check_same(found["share"], found["common"] / len(rows), "share of agreement")
    check_same(found["jaccard"], found["common"] / (2 * len(rows) - found["common"]), "Jaccard index of agreement")
    check_pairs(run, quality)
    check_duplicates(run, quality)
    for key, items in (("rows", [item for _, item in rows]), ("train", [item for row in run.train for item in row])):
        check_same(quality["novelty"][key], mean(math.log2(run.users / max(run.popularity[item], 1)) for item in items),
                   f"novelty of {key}")
    check_list(quality["deciles"], [sum(run.decile[item] == tenth for _, item in rows) / len(rows)
                                    for tenth in range(10)], "rows by tenths")


# ---- the run ----------------------------------------------------------------------------------------------------


def write_attributes(folder):
    """Some users and items have none, some lines are of unknown ids."""
    generator = random.Random(7)
    users, items = set(), set()
    for line in (folder / "artificial.inter").read_text().splitlines()[1:]:
        user, item, _ = line.split("\t")
        users.add(user)
        items.add(item)
    countries = {user: generator.choice(["Peru", "Chad", "Laos, north"]) for user in sorted(users)[5:]}
    genres = {item: generator.choice("ab") for item in sorted(items)[3:]}
    (folder / "users.tsv").write_text("country:token\tuser_id:token\n" +
                                      "".join(f"{value}\t{user}\n" for user, value in countries.items()) +
                                      "Peru\tnobody\n")
    (folder / "items.csv").write_text("".join(f'"x, y",{item},"{value}"\r\n' for item, value in genres.items()))
    return countries, genres


def check_bad_attributes(folder):
    """Each error names the file and what to do, before anything is trained where that can be known."""
    (folder / "twice.tsv").write_text("u1\ta\nu1\tb\n")
    (folder / "foreign.tsv").write_text("nobody\ta\n")
    (folder / "short.tsv").write_text("u1\n")
    (folder / "many.tsv").write_text("".join(f"u{i}\tvalue {i}\n" for i in range(100)))
    for path, column, message in (("missing.tsv", "1", "missing.tsv does not exist"),
                                  ("twice.tsv", "1", "twice.tsv:2: 'u1' has a line before"),
                                  ("foreign.tsv", "1", "foreign.tsv: holds no id of the data"),
                                  ("short.tsv", "1", "short.tsv:1: has no field 1"),
                                  ("users.tsv", "age", "has no column 'age' in its first line"),
                                  ("many.tsv", "1", "one of more than 64 values")):
        shown = idrec(folder, "run", "audit.yaml", "output=out",
                      f"evaluate.attributes=[{{path: {path}, column: {column}}}]")
        check(shown.returncode != 0 and message in shown.stderr, f"{path}: {shown.returncode}, {shown.stderr[-300:]}")


def check_presentation(run):
    """Every measure is defined in docs/metrics.md and in the report, and the tables hold what results.json does."""
    documentation = (SOURCE / "docs" / "metrics.md").read_text()
    markdown, html = ((run.folder / name).read_text() for name in ("report.md", "report.html"))
    for name in run.results["audit"]["fits"][0]["exposure"]:
        check(f"`{name}`" in documentation, f"docs/metrics.md defines {name}")
    for text in ("Groups and popularity", "PopREO", "lower", "higher", "near 0", "Quality of the generated rows"):
        check(text in markdown and text in html, f"the report says {text}")
    with open(run.folder / "tables" / "audit.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = {(line["recommender"], line["arm"], int(line["k"]), line["by"], line["group"], line["measure"]): line
            for line in lines}
    check(len(rows) == len(lines), "no line of audit.csv stands twice")
    count = 0
    for fit in run.results["audit"]["fits"]:
        key = (fit["recommender"], fit["arm"], fit["k"])
        for name, value in fit["exposure"].items():
            check(same(value["mean"], float(rows[key + ("", "", name)]["mean"] or "nan")), f"audit.csv: {key} {name}")
            count += 1
        for entry, grouping in zip(fit["groups"], run.results["audit"]["groupings"]):
            for name in ("recall", "ndcg", "exposure", "popularity_lift"):
                for group, value in zip(grouping["groups"], entry.get(name, [])):
                    written = rows[key + (entry["by"], group["name"], name)]["mean"]
                    check(same(value, float(written or "nan")), f"audit.csv: {key} {entry['by']} {group} {name}")
                    count += 1
    check(count == len(lines), f"audit.csv has {len(lines)} lines for {count} values")
    if shutil.which("gnuplot"):
        for name in ("groups-item_knn", "groups-bpr_mf", "exposure-item_knn", "exposure-bpr_mf"):
            check((run.folder / "plots" / f"{name}.svg").exists() and re.search(f"plots/{name}.svg", markdown) is not None,
                  f"the report shows {name}")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        synthesize(folder / "artificial.inter", "--users", str(USERS), "--items", str(ITEMS))
        countries, genres = write_attributes(folder)
        (folder / "audit.yaml").write_text(CONFIG)
        shown = idrec(folder, "run", "audit.yaml", "output=out")
        if shown.returncode != 0:
            sys.exit(f"the run failed with status {shown.returncode}: {shown.stderr[-2000:]}")
        run = Run(folder / "out", folder / "artificial.inter.truth.h5")
        check_audit(run, groupings_of(run, countries, genres))
        check_others(run)
        check_quality(run)
        check_presentation(run)
        check_bad_attributes(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
