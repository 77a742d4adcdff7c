"""augment.ensemble: what it makes of the language model's rows and of two rankers' is worked out here again, from generated.h5,
from popularity as it is counted here and from the scores of item_knn; filters that cap see the fused rows, those that judge
the language model's own; control.ensemble adds as many rows without the language model. Which rankers are fused when validation
decides is worked out again, too.

Needs h5dump (Debian: hdf5-tools).
"""

import json
import math
import pathlib
import shutil
import sys
import tempfile

from checking import check, status, synthesize
from test_language_recommender import Data, idrec, read_h5, read_rankings, run
from test_ranking_arms import read_scores

DEPTH, CONSTANT, CAP = 12, 60, 5
CONFIG = """\
name: small
seed: 3
data: {path: data.inter}
language_model: {layers: 1, width: 16, heads: 2}
prompts: {random_cuts: 2}
pretrain: {epochs: 12, tokens_per_batch: 1024}
finetune: {method: none}
generate: {max_items: 12}
augment:
  ensemble: [popularity, item_knn]
  ensemble_select: all
  select: fixed
  use: [positives]
  per_user: [4]
  filters: [{name: catalogue}, {name: seen}, {name: duplicate}, {name: cap_user, maximum: 5}]
recommenders: [{model: bpr_mf, width: 8, epochs: 10}, {model: item_knn, shrinkage: 3, neighbors: 20}]
experiment: {arms: [original, augmented, control.ensemble], seeds: 2}
"""


def fuse(lists, depth=DEPTH):
    """[(item, score, votes), ...], best first; scores as single precision orders them, ties to the smaller item."""
    scores, votes = {}, {}
    for items in lists:
        for rank, item in enumerate(items[:depth], 1):
            scores[item] = scores.get(item, 0.0) + 1 / (CONSTANT + rank)
            votes[item] = votes.get(item, 0) + 1
    return sorted(((item, scores[item], votes[item]) for item in scores), key=lambda entry: (-round(entry[1], 9), entry[0]))


def rankers(out, data):
    """The lists of popularity and of item_knn over unseen items, {user: items}."""
    counts = [0] * len(data.items)
    for items in data.rows["train"]:
        for item in items:
            counts[item] += 1
    popular = sorted(range(len(counts)), key=lambda item: (-counts[item], item))
    near = read_scores(out, "item_knn", 3, data)
    seen = [set(items) for items in data.rows["train"]]
    return [[[item for item in order if item not in seen[user]][:DEPTH] for user, order in enumerate(orders)]
            for orders in ([popular] * len(data.users), near)]


def read_synthetic(out):
    """{user: [(item, log-probability, votes), ...]} of the rows that are no real ones."""
    rows = {}
    columns = read_h5(out / "augmented.h5", "/source", "/user", "/item", "/log_probability", "/votes")
    for source, user, item, value, votes in zip(*columns):
        if source == 1:
            rows.setdefault(int(user), []).append((int(item), value, int(votes)))
    return rows


def check_fused(out, data, others):
    language = read_rankings(out / "generated.h5")
    synthetic = read_synthetic(out)
    starts, listed = read_h5(out / "augmented.h5", "/ensemble/indptr", "/ensemble/indices")
    changed = 0
    for user in range(len(data.users)):
        own = [item for item, _ in language[user]]
        expected = fuse([own, others[0][user], others[1][user]])[:CAP]
        told = synthetic[user]
        if [(item, votes) for item, _, votes in told] != [(item, votes) for item, _, votes in expected]:
            check(False, f"user {user} has {told}, not {expected}")
            return
        check(max(abs(value - math.log(score)) for (_, value, _), (_, score, _) in zip(told, expected)) < 1e-5,
              f"user {user}: scores {told}, {expected}")
        alone = [item for item, _, _ in fuse([others[0][user], others[1][user]])[:DEPTH]]
        check([int(item) for item in listed[int(starts[user]):int(starts[user + 1])]] == alone, f"user {user}: {alone}")
        changed += [item for item, _, _ in told] != own[:CAP] and [item for item, _, _ in told] != alone[:CAP]
    check(changed > len(data.users) / 2, f"only {changed} lists are no single ranker's")


def check_arms(out):
    results = json.loads((out / "results.json").read_text())
    runs = {(entry["recommender"], entry["arm"], entry["seed"]): entry for entry in results["runs"]}
    for recommender in ("bpr_mf", "item_knn"):
        own, control = (runs[recommender, arm, 3] for arm in ("augmented", "control.ensemble"))
        check(own["rows_added"] == control["rows_added"] > 0, f"{recommender}: {own['rows_added']}, {control['rows_added']} rows")
        check(own["metrics"] != control["metrics"], f"{recommender}: control.ensemble trains on the same rows")
    pairs = {(entry["recommender"], entry["arm"], entry["against"]) for entry in results["comparisons"]}
    check(("bpr_mf", "augmented", "control.ensemble") in pairs, f"not compared: {sorted(pairs)}")


def check_confidence(folder, config, data, others):
    """A filter that judges the language model's rows by their probability leaves out half of them before they are fused."""
    out = folder / "likely"
    values = sorted(value for rows in read_rankings(folder / "small" / "generated.h5").values() for _, value in rows)
    limit = max((above - below, (above + below) / 2) for below, above in
                zip(values[len(values) // 2:], values[len(values) // 2 + 1:len(values) // 2 + 40]))[1]
    text = config.read_text().replace("{name: cap_user, maximum: 5}", f"{{name: confidence, minimum_log_probability: {limit}}}")
    (folder / "likely.yaml").write_text(text)
    shutil.copytree(folder / "small", out)
    result = idrec("augment", folder / "likely.yaml", f"output={out}")
    check(result.returncode == 0, f"likely: {result.stderr[-500:]}")
    language = {user: [item for item, value in rows if value >= limit]
                for user, rows in read_rankings(out / "generated.h5").items()}
    depth = max(map(len, language.values()))
    synthetic = read_synthetic(out)
    wrong = [user for user in range(len(data.users))
             if [item for item, _, _ in synthetic[user]] !=
             [item for item, _, _ in fuse([language.get(user, []), others[0][user], others[1][user]], depth)[:depth]]]
    check(not wrong, f"confidence: users {wrong[:5]} have other rows")
    check(0 < sum(map(len, language.values())) < len(values), "nothing was refused, or all")


def ndcg(lists, held_out, cut):
    """The mean over users with held-out items; lists end at the fusion's depth, which a cut may exceed."""
    gains = [1 / math.log2(rank + 1) for rank in range(1, cut + 1)]
    values = [sum(gain for gain, item in zip(gains, items[:DEPTH]) if item in truth) / sum(gains[:len(truth)])
              for items, truth in zip(lists, held_out) if truth]
    return sum(values) / len(values)


def choose(rankings, first, held_out, cut):
    """Forward selection: the names that are fused, and what they reach."""
    def score(names):
        users = range(len(held_out))
        return ndcg([[item for item, _, _ in fuse([rankings[name][user] for name in names])] for user in users], held_out, cut)

    chosen = [first or max(rankings, key=lambda name: score([name]))]
    best = score(chosen)
    while True:
        tried = {name: score(chosen + [name]) for name in rankings if name not in chosen}
        name = max(tried, key=tried.get, default=None)
        if name is None or tried[name] <= best:
            return [name for name in rankings if name in chosen], best
        chosen.append(name)
        best = tried[name]


def check_chosen(folder, config, data, others):
    """What is told, and what is fused, at cuts that choose differently."""
    language = read_rankings(folder / "small" / "generated.h5")
    rankings = {"language_model": [[item for item, _ in language[user]] for user in range(len(data.users))],
                "popularity": others[0], "item_knn": others[1]}
    held_out = [set(items) for items in data.rows["validation"]]
    told = set()
    for cut in (1, 2, 3, 5, 10, 20):
        result = idrec("augment", config, f"output={folder / 'small'}", "augment.ensemble_select=validation",
                       f"augment.select_k={cut}")
        check(result.returncode == 0, f"chosen at {cut}: {result.stderr[-500:]}")
        for first, words in (("language_model", "fused lists of {}, chosen on validation: ndcg@{} {:.4f};"),
                             (None, "without the language model {2}: {1:.4f}")):
            among = rankings if first else {name: rankings[name] for name in ("popularity", "item_knn")}
            names, best = choose(among, first, held_out, cut)
            told.add(tuple(names))
            line = words.format(" ".join(names), cut, best) if first else words.format(cut, best, " ".join(names))
            check(line in result.stderr + result.stdout, f"at {cut} not told: {line}\n{result.stderr[-600:]}")
            if first:
                synthetic = read_synthetic(folder / "small")
                wrong = [user for user in range(len(data.users)) if [item for item, _, _ in synthetic[user]] !=
                         [item for item, _, _ in fuse([rankings[name][user] for name in names])[:CAP]]]
                check(not wrong, f"at {cut}: users {wrong[:5]} have other rows than {names} fused")
    check(len(told) > 2, f"the same is chosen everywhere: {told}")


def check_refusals(folder, config):
    for words, told in (("augment.ensemble=[]", "control.ensemble needs rankers"),
                        ("augment.ensemble=[ease, ease]", "ease is given twice"),
                        ("augment.ensemble=[sgl]", "augment.ensemble"),
                        ("augment.ensemble_select=likely", "augment.ensemble_select")):
        result = idrec("run", config, words, f"output={folder / 'refused'}")
        check(result.returncode == 2 and told in result.stderr and result.stderr.count("\n") == 1, f"{words}: {result.stderr}")


def check_trained(folder, config):
    """A ranker that trains by epochs is the recommender that trains with the same settings and seed, until validation gets no better."""
    out = folder / "trained"
    (folder / "trained.yaml").write_text(config.read_text().replace("seed: 3", "seed: 1").replace("[popularity, item_knn]", "[bpr_mf]")
                                         .replace("epochs: 10}", "epochs: 60, patience: 5}").replace(str(folder / "small"), str(out)))
    run(folder / "trained.yaml")
    data = Data(out)
    best = json.loads((out / "recommenders/bpr_mf/original/seed-1/metrics.json").read_text())
    check(best["best_epoch"] < best["epochs"] < 60, f"validation has not ended the training: {best['best_epoch']}, {best['epochs']}")
    scored = read_scores(out, "bpr_mf", 1, data)
    starts, listed = read_h5(out / "augmented.h5", "/ensemble/indptr", "/ensemble/indices")
    for user, order in enumerate(scored):
        expected = [item for item in order if item not in set(data.rows["train"][user])][:DEPTH]
        check(listed[int(starts[user]):int(starts[user + 1])] == expected, f"bpr_mf: user {user} has other items")
    result = idrec("augment", folder / "trained.yaml", f"output={out}", "augment.ensemble=[sasrec, als]", "augment.ensemble_select=validation")
    check(result.returncode == 0 and "without the language model" in result.stderr, f"sasrec: {result.stderr[-500:]}")


def check_other_settings(config, out):
    """The rows follow the settings that `recommenders:` gives a ranker."""
    before = read_synthetic(out)
    run_again = idrec("augment", config, f"output={out}", "recommenders[1].neighbors=1")
    check(run_again.returncode == 0 and read_synthetic(out) != before, f"other neighbors: {run_again.stderr[-300:]}")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        synthesize(folder / "data.inter", "--users=150", "--items=80", "--interactions=12")
        config, out = folder / "small.yaml", folder / "small"
        config.write_text(CONFIG + f"output: {out}\n")
        run(config)
        data = Data(out)
        others = rankers(out, data)
        check_fused(out, data, others)
        check_confidence(folder, config, data, others)
        check_arms(out)
        check_chosen(folder, config, data, others)
        check_refusals(folder, config)
        planned = idrec("plan", config)
        check(planned.returncode == 0, f"plan: {planned.stderr}")
        check_other_settings(config, out)
        check_trained(folder, config)
    return status()


if __name__ == "__main__":
    sys.exit(main())
