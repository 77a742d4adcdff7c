"""The arms that train nothing. control.generator lists what the recommender `language_model` does; control.fusion is recomputed
here, lists, scores and the choice of its weight, from the language model's ranking and the recommender's scores.

Needs h5dump and h5diff (Debian: hdf5-tools).
"""

import json
import math
import pathlib
import struct
import sys
import tempfile

from checking import check, lacks, status, synthesize
from test_kill import differences
from test_language_recommender import Data, idrec, read_h5, read_lists, read_rankings, run

WEIGHTS = [0.25, 0.5, 0.75]
CONSTANT, DEPTH, K, SELECT_K = 10, 30, 10, 7
ARMS = ["control.generator", "control.fusion"]
CONFIG = """\
name: small
seed: 3
data: {{path: data.inter, split: {split}}}
language_model: {{layers: 1, width: 16, heads: 2, positions: true}}
prompts: {{random_cuts: 2, shuffle: {shuffle}}}
pretrain: {{epochs: 2, tokens_per_batch: 1024, evaluate_every: 2}}
finetune: {{rank: 2, learning_rate: 0.02}}
generate: {{method: ranking, contexts: {contexts}, max_items: 10}}
augment: {{select: fixed, use: [positives], per_user: [1], ensemble: [], select_k: {select_k}}}
recommenders: {recommenders}
experiment:
  arms: [original, augmented, control.generator, control.fusion]
  seeds: 2
  fusion: {{weights: {weights}, constant: {constant}, depth: {depth}}}
evaluate: {{k: [5, {k}], metrics: [recall, ndcg]}}
"""
BPR = "{model: bpr_mf, width: 8, epochs: 20, evaluate_every: 10}"
RANDOM = "{method: random, ratios: [0.8, 0.1, 0.1]}"


def write_config(folder, name, **settings):
    values = {"split": RANDOM, "shuffle": "true", "contexts": 2, "recommenders": f"[{BPR}]", "weights": WEIGHTS,
              "constant": CONSTANT, "depth": DEPTH, "k": K, "select_k": SELECT_K}
    path = folder / f"{name}.yaml"
    path.write_text(CONFIG.format(**{**values, **settings}) + f"output: {folder / name}\n")
    return path, folder / name


def single(value):
    """The nearest number in single precision."""
    return struct.unpack("f", struct.pack("f", value))[0]


def fuse(language, recommender, weight):
    """Two lists of items into [(item, score), ...], best first."""
    scores = {}
    for items, share in ((language, weight), (recommender, 1 - weight)):
        for rank, item in enumerate(items[:DEPTH], 1):
            scores[item] = scores.get(item, 0.0) + share / (CONSTANT + rank)
    return sorted(((item, single(score)) for item, score in scores.items()), key=lambda entry: (-entry[1], entry[0]))


def ndcg(items, truth, k):
    gain = sum(1 / math.log2(rank + 2) for rank, item in enumerate(items[:k]) if item in truth)
    return gain / sum(1 / math.log2(rank + 2) for rank in range(min(k, len(truth))))


def read_scores(out, recommender, seed, data):
    """Of every user all items by the recommender of the original arm, best first."""
    path = out / "scores.h5"
    result = idrec("export", out, f"--recommender={recommender}", "--arm=original", f"--seed={seed}", f"--output={path}",
                   "--scores")
    if result.returncode != 0:
        sys.exit(f"export: {result.stderr}")
    scores, = read_h5(path, "/scores")
    path.unlink()
    items = len(data.items)
    check(len(scores) == items * len(data.users), f"{len(scores)} scores")
    return [sorted(range(items), key=lambda item: (-scores[user * items + item], item)) for user in range(len(data.users))]


def read_fit(out, recommender, arm, seed):
    return json.loads((out / f"recommenders/{recommender}/{arm}/seed-{seed}/metrics.json").read_text())


def without(items, hidden):
    return [item for item in items if item not in hidden]


def items_of(rankings, user):
    return [item for item, _ in rankings.get(user, [])]


def check_choice(name, fit, data, rankings, best):
    """The score of every weight on validation, and that the best is taken."""
    judged = [user for user, truth in enumerate(data.rows["validation"]) if truth]
    scores = []
    for weight in WEIGHTS:
        total = 0.0
        for user in judged:
            hidden = set(data.rows["train"][user])
            fused = fuse(without(items_of(rankings, user), hidden), without(best[user], hidden), weight)
            total += ndcg([item for item, _ in fused], set(data.rows["validation"][user]), SELECT_K)
        scores.append(total / len(judged))
    told = fit["fusion"]["validation"]
    check([entry["weight"] for entry in told] == WEIGHTS, f"{name}: weights are {told}")
    gap = max(abs(entry["score"] - score) for entry, score in zip(told, scores))
    check(gap < 1e-9, f"{name}: validation scores are off by {gap}: {told}, {scores}")
    check(len(set(scores)) > 1 and fit["fusion"]["weight"] == WEIGHTS[scores.index(max(scores))],
          f"{name}: {fit['fusion']['weight']} was chosen by {scores}")
    check(abs(fit["selection_score"] - max(scores)) < 1e-9, f"{name}: judged as {fit['selection_score']}, chosen by {scores}")


def check_lists(name, out, recommender, seed, data, rankings, best, weight):
    """The lists on test, which both rankings decide."""
    lists = read_lists(out, data, recommender, seed, "control.fusion")
    check(len(lists) > 100, f"{name}: {len(lists)} lists")
    same = {"language": 0, "recommender": 0}
    for user, entries in lists.items():
        hidden = set(data.rows["train"][user] + data.rows["validation"][user])
        language, own = without(items_of(rankings, user), hidden), without(best[user], hidden)
        expected = fuse(language, own, weight)[:K]
        if [item for item, _ in entries] != [item for item, _ in expected]:
            check(False, f"{name}: user {user} has {entries}, not {expected}")
            return
        check(max(abs(a - b) for (_, a), (_, b) in zip(entries, expected)) < 1e-6, f"{name}: scores of user {user}")
        same["language"] += [item for item, _ in entries] == language[:K]
        same["recommender"] += [item for item, _ in entries] == own[:K]
    check(max(same.values()) < len(lists) / 2, f"{name}: lists are those of one ranking: {same} of {len(lists)}")


def check_metric(name, out, recommender, arm, data):
    lists = read_lists(out, data, recommender, 3, arm)
    tested = [user for user, truth in enumerate(data.rows["test"]) if truth]
    value = sum(ndcg([item for item, _ in lists[user]], set(data.rows["test"][user]), K) for user in tested) / len(tested)
    told = read_fit(out, recommender, arm, 3)["test"][f"ndcg@{K}"]
    check(value > 0 and abs(value - told) < 1e-9, f"{name}: ndcg is {told}, and of the lists {value}")


def test_shuffled(folder):
    """Beside the recommender language_model, whose ranking both arms take."""
    config, out = write_config(folder, "shuffled", recommenders="[{model: item_knn}, "
                               "{model: language_model, contexts: 3, ranked_items: 60}, " + BPR + "]")
    run(config)
    data = Data(out)
    rankings = read_rankings(out / "recommenders/language_model/after-train.h5")
    whole = (out / "recommenders/language_model/original/seed-3/top_k.tsv").read_bytes()
    for recommender in ("bpr_mf", "item_knn"):
        for seed in (3, 4):
            name = f"{recommender}, seed {seed}"
            generator = out / f"recommenders/{recommender}/control.generator/seed-{seed}/top_k.tsv"
            check(generator.read_bytes() == whole, f"{name}: control.generator is not the recommender language_model")
            fit, best = read_fit(out, recommender, "control.fusion", seed), read_scores(out, recommender, seed, data)
            check_choice(name, fit, data, rankings, best)
            check_lists(name, out, recommender, seed, data, rankings, best, fit["fusion"]["weight"])
        for arm in ARMS:
            check_metric(f"{recommender}, {arm}", out, recommender, arm, data)
    check(sorted(path.name for path in (out / "recommenders/language_model").iterdir()) == ["after-train.h5", "original"],
          "the language model has other arms")
    check_results(out)
    check_recommend(out)


def check_results(out):
    results = json.loads((out / "results.json").read_text())
    runs = {(entry["recommender"], entry["arm"], entry["seed"]): entry for entry in results["runs"]}
    pairs = {(entry["recommender"], entry["arm"], entry["against"]) for entry in results["comparisons"]}
    audited = {(entry["recommender"], entry["arm"]) for entry in results["audit"]["fits"]}
    for recommender in ("bpr_mf", "item_knn"):
        for arm in ARMS:
            check({(recommender, arm, "original"), (recommender, "augmented", arm)} <= pairs, f"{recommender}, {arm}: {pairs}")
            check((recommender, arm) in audited, f"{recommender}, {arm}: not audited")
            check(all(runs[recommender, arm, seed]["rows_added"] == 0 for seed in (3, 4)), f"{recommender}, {arm}: rows added")
        check("weight" in runs[recommender, "control.fusion", 3]["fusion"], f"{recommender}: no weight in results.json")
    check(runs["bpr_mf", "control.generator", 3]["copied_from"] == "item_knn/control.generator/seed-3",
          "the ranking is kept more than once")
    check("copied_from" not in runs["bpr_mf", "control.fusion", 4], "seeds share a fusion")
    report = (out / "report.md").read_text()
    check("Weights of the fusion" in report and "weight of the language model" in report, "the report holds no weights")


def check_recommend(out):
    for arm in ARMS:
        lists = (out / f"recommenders/bpr_mf/{arm}/seed-3/top_k.tsv").read_text()
        printed = idrec("recommend", out, "--recommender=bpr_mf", f"--arm={arm}", "--seed=3", f"--k={K}")
        tested = {line.split("\t")[0] for line in lists.splitlines()}
        kept = "".join(line for line in printed.stdout.splitlines(True) if line.split("\t")[0] in tested)
        check(printed.returncode == 0 and kept == lists, f"recommend, {arm}: {printed.stderr[-300:]}")
    refused = idrec("recommend", out, "--recommender=language_model", "--arm=control.fusion")
    check(refused.returncode == 2 and "there are: original" in refused.stderr, f"recommend: {refused.stderr}")


def test_in_order(folder):
    """In order of time test follows train and validation; no recommender is the language model, and one reads the order."""
    models = f"[{BPR}, {{model: sasrec, width: 8, layers: 1, epochs: 4, length: 20}}]"
    config, out = write_config(folder, "ordered", split="{method: leave_one_out}", shuffle="false", contexts=1,
                               recommenders=models)
    run(config)
    data = Data(out)
    after = [read_rankings(out / f"recommenders/language_model/after-{part}.h5") for part in ("train", "validation")]
    check(after[0] != after[1], "both rankings are alike")
    for recommender in ("bpr_mf", "sasrec"):
        best = read_scores(out, recommender, 4, data)
        fit = read_fit(out, recommender, "control.fusion", 4)
        if recommender == "bpr_mf":
            check_choice(recommender, fit, data, after[0], best)
        check_lists(recommender, out, recommender, 4, data, after[1], best, fit["fusion"]["weight"])
        lists = read_lists(out, data, recommender, 4, "control.generator")
        check(all([item for item, _ in entries] == items_of(after[1], user)[:K] for user, entries in lists.items()),
              f"{recommender}: control.generator does not follow validation")
    planned = idrec("plan", config)
    check(planned.returncode == 0 and "exact rankings for 160 users" in planned.stdout, f"plan: {planned.stdout} {planned.stderr}")


def test_again(folder):
    """Other weights choose again, and ask neither the language model nor train a recommender."""
    config, out = write_config(folder, "again", weights=[0.25])
    run(config)
    kept = [out / "recommenders/language_model/after-train.h5", out / "recommenders/bpr_mf/original/seed-3/metrics.json",
            out / "recommenders/bpr_mf/control.generator/seed-3/metrics.json"]
    before = [path.stat().st_mtime_ns for path in kept]
    config, whole = write_config(folder, "whole")
    run(config)
    config.write_text(config.read_text().replace(str(whole), str(out)))
    run(config)
    check([path.stat().st_mtime_ns for path in kept] == before, "done again")
    found = differences(whole, out)
    check(not found, f"other weights: {found}")
    config, _ = write_config(folder, "again", weights=[0.25, 0.8])
    run(config)
    told = read_fit(out, "bpr_mf", "control.fusion", 3)["fusion"]["validation"]
    check([entry["weight"] for entry in told] == [0.25, 0.8], f"weights of the run before: {told}")


def test_without_validation(folder):
    """Nothing can choose a weight then, so there must be one; the lists on test are the fusion with it."""
    head, *rows = (folder / "data.inter").read_text().splitlines(keepends=True)
    for name, test in (("train", False), ("test", True)):
        (folder / f"{name}.inter").write_text(head + "".join(row for i, row in enumerate(rows) if (i % 10 == 9) == test))
    split = "{method: provided, train: train.inter, test: test.inter, validation_ratio: 0}"
    config, out = write_config(folder, "unvalidated", split=split, weights=[0.5])
    config.write_text(config.read_text().replace("metrics: [recall, ndcg]", "metrics: [ndcg], protocol: test_selected"))
    run(config)
    data = Data(out)
    check(not any(data.rows["validation"]), "there is validation")
    rankings, best = read_rankings(out / "recommenders/language_model/after-train.h5"), read_scores(out, "bpr_mf", 3, data)
    check(read_fit(out, "bpr_mf", "control.fusion", 3)["fusion"] == {"weight": 0.5, "validation": []}, "a choice without scores")
    check_lists("no validation", out, "bpr_mf", 3, data, rankings, best, 0.5)
    refused = idrec("train", config, "experiment.fusion.weights=[0.25, 0.5]")
    check(refused.returncode == 2 and "validation" in refused.stderr, f"two weights: {refused.stderr}")


def test_study(folder):
    """Trials ask the language model once, and lists are those of a run."""
    config, out = write_config(folder, "study")
    sweep = ['experiment.sweep={"recommenders[0].width": [4, 8]}', "experiment.trials_at_once=1"]
    result = idrec("run", config, *sweep)
    check(result.returncode == 0, f"study: {result.stderr[-500:]}")
    trials = [out / f"trials/width={width}" for width in (4, 8)]
    taken = [(trial / "log.txt").read_text().count("train: ranking taken from") for trial in trials]
    check(taken == [0, 1], f"rankings taken: {taken}")
    check(len({(trial / "recommenders/language_model/after-train.h5").stat().st_ino for trial in trials}) == 1,
          "the ranking lies there twice")
    check(len([path for path in (out / "shared").glob("ranking-*")]) == 1, "shared/ holds the ranking")
    config, alone = write_config(folder, "alone")
    run(config)
    for arm in ARMS:
        lists = [(place / f"recommenders/bpr_mf/{arm}/seed-4/top_k.tsv").read_bytes() for place in (trials[1], alone)]
        check(lists[0] == lists[1], f"{arm}: a trial and a run differ")


def main():
    if lacks("h5dump", "h5diff"):
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        synthesize(folder / "data.inter", "--users=160", "--items=90", "--interactions=16", "--seed=5")
        for test in (test_shuffled, test_in_order, test_again, test_without_validation, test_study):
            test(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
