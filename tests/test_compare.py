"""`idrec compare`: its figures recomputed from top_k.tsv and the files of a provided split; users in another order, seeds of
another number, one seed; trials of a study; what it refuses; and that it writes nothing into the folders.
"""

import json
import math
import pathlib
import random
import shutil
import statistics
import sys
import tempfile

from checking import check, check_refusal, idrec, status, synthesize

CONFIG = """\
name: base
data: {split: {method: provided, train: PLACE/train.tsv, validation: PLACE/validation.tsv, test: PLACE/test.tsv},
       format: tsv, columns: {user: 0, item: 1}, k_core: 0}
language_model: {layers: 1, width: 16, heads: 2}
prompts: {random_cuts: 1}
pretrain: {epochs: 1}
finetune: {epochs: 1}
generate: {contexts: 1, max_items: 5}
augment: {select: fixed, use: [positives], per_user: [2], ensemble: [], filters: [{name: catalogue}, {name: seen}, {name: duplicate}]}
recommenders: [{model: bpr_mf, width: 8, epochs: 6}, {model: item_knn}]
experiment: {seeds: 3, arms: [original, augmented]}
evaluate: {k: [5, 10], metrics: [recall, ndcg]}
"""
STUDY = """\
extends: base.yaml
name: study
experiment: {arms: [original], sweep: {"recommenders[0].width": [4, 12]}}
"""


def run(folder, config, output, *overrides):
    result = idrec(folder, "run", config, f"output={output}", *overrides)
    check(result.returncode == 0, f"{output}: {result.stderr[-500:]}")


def compare(folder, *arguments):
    result = idrec(folder, "compare", *arguments, "--json")
    check(result.returncode == 0, f"compare {arguments}: {result.stderr}")
    return json.loads(result.stdout)


# ---- data ---------------------------------------------------------------------------------------------------


def write_parts(place, parts):
    place.mkdir()
    for name, pairs in parts.items():
        (place / f"{name}.tsv").write_text("".join(f"{user}\t{item}\n" for user, item in pairs))


def make_data(folder, generator):
    """The parts of the split, written in three ways: as they are, in another order, with another test part."""
    synthesize(folder / "data.inter", "--users=60", "--items=40", "--interactions=12", "--factors=4", "--blocks=2")
    pairs = sorted({tuple(line.split("\t")[:2]) for line in (folder / "data.inter").read_text().splitlines()[1:]})
    generator.shuffle(pairs)
    parts = {"train": pairs[:-160], "validation": pairs[-160:-80], "test": pairs[-80:]}
    known = [{pair[place] for pair in parts["train"]} for place in (0, 1)]
    for name in ("validation", "test"):  # the items that are ranked do not depend on the split
        parts[name] = [pair for pair in parts[name] if pair[0] in known[0] and pair[1] in known[1]]
    write_parts(folder / "plain", parts)
    write_parts(folder / "shuffled", {name: generator.sample(part, len(part)) for name, part in parts.items()})
    write_parts(folder / "other", parts | {"test": parts["test"][1:]})
    write_parts(folder / "more", parts | {"train": parts["train"] + [(parts["train"][0][0], "a new item")]})
    write_parts(folder / "less", parts | {"train": [pair for pair in parts["train"] if pair != rare(parts["train"])]})
    for place in ("plain", "shuffled", "other", "more", "less"):
        (folder / f"{place}.yaml").write_text(CONFIG.replace("PLACE", place))
    (folder / "base.yaml").write_text(CONFIG.replace("PLACE", "plain"))
    (folder / "study.yaml").write_text(STUDY)
    truth = {}
    for user, item in parts["test"]:
        truth.setdefault(user, set()).add(item)
    return truth


def rare(pairs):
    """A pair whose user and item have other pairs."""
    users, items = ([pair[place] for pair in pairs] for place in (0, 1))
    return next(pair for pair in pairs if users.count(pair[0]) > 2 and items.count(pair[1]) > 2)


# ---- figures ------------------------------------------------------------------------------------------------


def user_values(fit, truth, metric, cut):
    """{user: value} of one fit."""
    lists = {}
    for line in (fit / "top_k.tsv").read_text().splitlines():
        user, item, rank, _ = line.split("\t")
        if int(rank) <= cut:
            lists.setdefault(user, {})[item] = int(rank)
    values = {}
    for user, items in truth.items():
        hits = [rank for item, rank in lists[user].items() if item in items]
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(cut, len(items)) + 1))
        values[user] = (len(hits) / len(items) if metric == "recall" else
                        sum(1 / math.log2(rank + 1) for rank in hits) / ideal)
    return values


def side(run_folder, comparison, arm, first_seed, truth):
    metric, cut = comparison["metric"].split("@")
    place = run_folder / "recommenders" / comparison["recommender"] / arm
    return [user_values(place / f"seed-{first_seed + number}", truth, metric, int(cut))
            for number in range(comparison["seeds"])]


def near(found, expected, what):
    check(found is not None and abs(found - expected) <= 1e-12 + 1e-9 * abs(expected), f"{what}: {found}, not {expected}")


def check_figures(folder, result, truth, seeds):
    """Means, gains and effect sizes; `seeds`: the first of both runs."""
    check(result["comparisons"], "no comparisons")
    for comparison in result["comparisons"]:
        what = " ".join(comparison[key] for key in ("run", "recommender", "metric"))
        mine = side(folder / comparison["run"], comparison, comparison["arm"], seeds[comparison["run"]], truth)
        other = side(folder / comparison["against_run"], comparison, comparison["against"],
                     seeds[comparison["against_run"]], truth)
        average, against = (statistics.fmean(value for fit in fits for value in fit.values()) for fits in (mine, other))
        near(comparison["mean"], average, f"{what}: mean")
        near(comparison["against_mean"], against, f"{what}: mean of the other")
        near(comparison["difference"], average - against, f"{what}: difference")
        near(comparison["relative_gain"], average / against - 1, f"{what}: gain")
        gaps = [statistics.fmean(fit[user] for fit in mine) - statistics.fmean(fit[user] for fit in other)
                for user in truth]
        if comparison["seeds"] > 1 and any(gaps):
            near(comparison["effect_size"], statistics.fmean(gaps) / statistics.stdev(gaps), f"{what}: effect size")
            low, high = comparison["difference_ci95"]
            check(low <= comparison["difference"] <= high and low < high, f"{what}: interval {low} {high}")
        else:
            check(comparison["effect_size"] is None and comparison["ci95"] is None and comparison["p_holm"] is None
                  and comparison["note"], f"{what}: something is stated of nothing")


def check_families(result):
    """Holm's correction over all comparisons of a metric."""
    for metric in {comparison["metric"] for comparison in result["comparisons"]}:
        family = sorted((comparison for comparison in result["comparisons"]
                         if comparison["metric"] == metric and comparison["p"] is not None), key=lambda one: one["p"])
        largest = 0.0
        for place, comparison in enumerate(family):
            largest = max(largest, min(1.0, comparison["p"] * (len(family) - place)))
            near(comparison["p_holm"], largest, f"{metric}: p of Holm")


# ---- what is compared ---------------------------------------------------------------------------------------


def notes(result, number):
    return " | ".join(result["runs"][number]["notes"])


def test_runs(folder, truth):
    run(folder, "base.yaml", "a")
    run(folder, "base.yaml", "b", "seed=40", "finetune.rank=4")
    run(folder, "base.yaml", "c", "experiment.seeds=5", "recommenders=[{model: bpr_mf, width: 4, epochs: 6}, {model: popularity}]")
    before = {path: path.stat() for name in "abc" for path in (folder / name).rglob("*")}
    result = compare(folder, "a", "b", "c")
    after = {path: path.stat() for name in "abc" for path in (folder / name).rglob("*")}
    check({path: (entry.st_mtime_ns, entry.st_size) for path, entry in before.items()}
          == {path: (entry.st_mtime_ns, entry.st_size) for path, entry in after.items()}, "something was written")
    check_figures(folder, result, truth, {"a": 1, "b": 40, "c": 1})
    check_families(result)
    check({(one["recommender"], one["run"]) for one in result["comparisons"]}
          == {("bpr_mf", "b"), ("item_knn", "b"), ("bpr_mf", "c")}, "which are compared")
    check({(one["recommender"], one["run"]) for one in result["left_out"]} == {("item_knn", "c"), ("popularity", "a")},
          f"which are left out: {result['left_out']}")
    check({one["arm"] for one in result["comparisons"]} == {"augmented"}, "the usual arm")
    check({one["key"]: one["values"] for one in result["differences"]}
          == {"seed": ["1", "40", "1"], "finetune.rank": ["8", "4", "8"], "experiment.seeds": ["3", "3", "5"],
              "recommenders[0].width": ["8", "8", "4"], "recommenders[1].model": ["item_knn", "item_knn", "popularity"]},
          f"differences: {result['differences']}")
    check("seed 40 is paired with seed 1" in notes(result, 1) and "the first 3" in notes(result, 2) and
          not notes(result, 0), "notes on pairing")
    for number, name in enumerate("abc"):
        written = json.loads((folder / name / "results.json").read_text())["cost"]
        check(result["runs"][number]["cost"] == written, f"cost of {name}")
    check(result["test"]["users"] == len(truth) and result["test"]["interactions"] == sum(map(len, truth.values())),
          f"test: {result['test']}")


def test_arms_of_one_run(folder):
    """The same comparison as in results.json."""
    result = compare(folder, "a", "a", "--arm=augmented", "--against-arm=original")
    alone = compare(folder, "a", "--arm=augmented", "--against-arm=original")
    check(alone == result, "a run that is named once")
    written = json.loads((folder / "a" / "results.json").read_text())["comparisons"]
    check(len(written) == len(result["comparisons"]) == 8, "as many comparisons")
    for one, other in zip(result["comparisons"], written):
        check(other.items() <= one.items(), f"{one} is not {other}")
    result = compare(folder, "a", "a", "--metric=recall@10", "--recommender=bpr_mf")
    check(len(result["comparisons"]) == 1, "one metric of one recommender")
    one = result["comparisons"][0]
    check(one["p"] is None and one["ci95"] is None and one["difference"] == 0 and "the same results" in one["note"],
          f"a run and itself: {one}")


def test_same_results(folder):
    """Rows that are only kept out of the negatives change nothing of a recommender that has none: nothing is tested, in a
    run and between runs, and the family is that of the others."""
    run(folder, "base.yaml", "negatives", "augment.use=[exclude_from_negatives]")
    results = json.loads((folder / "negatives" / "results.json").read_text())["comparisons"]
    both = compare(folder, "a", "negatives", "--arm=original", "--against-arm=augmented")["comparisons"]
    for comparisons, same in ((results, {"item_knn"}), (both, set())):
        check({one["recommender"] for one in comparisons if one["same_results"]} == same, f"the same results: {same}")
    for one in results:
        knn = one["recommender"] == "item_knn"
        check((one["p"] is None) == (one["detectable_difference"] is None) == knn and one["family"] == 1,
              f"nothing to test: {one}")
        check(not knn or (one["note"] == "the same results: nothing to test" and one["relative_gain"] == 0), f"note: {one}")
    report = (folder / "negatives" / "report.md").read_text()
    check("item_knn: on test it is the same as the original data" in report and "same results" in report,
          "the report of the same results")


def test_other_order(folder, truth):
    """Other numbers of users and items for the same raw ids."""
    run(folder, "shuffled.yaml", "d")
    result = compare(folder, "a", "d", "--arm=original")
    check_figures(folder, result, truth, {"a": 1, "d": 1})
    check(not notes(result, 1), f"notes: {notes(result, 1)}")
    orders = [list(dict.fromkeys(line.split("\t")[0] for line in path.read_text().splitlines()))
              for path in sorted(folder.glob("[ad]/recommenders/bpr_mf/original/seed-1/top_k.tsv"))]
    check(orders[0] != orders[1] and set(orders[0]) == set(orders[1]), "the order of users is another")


def test_one_seed(folder, truth):
    run(folder, "base.yaml", "e", "experiment.seeds=1")
    result = compare(folder, "a", "e")
    check_figures(folder, result, truth, {"a": 1, "e": 1})
    check("one seed: no test" in notes(result, 1), f"notes: {notes(result, 1)}")
    report, several = ((folder / name / "report.md").read_text() for name in ("e", "a"))
    check("one seed: no comparison can be stated" in report and "| one seed |" in report, "the report says why it states none")
    verdict = report[report.index("## Verdict"):report.index("## Arms")]
    check("interval" not in verdict and "corrected for" not in verdict, f"from one seed: {verdict}")
    check("corrected for 2 comparisons; a difference of" in several, "what several seeds could have seen")


def test_other_train(folder, truth):
    """Tested alike, but one has learnt from less."""
    run(folder, "less.yaml", "f")
    result = compare(folder, "a", "f")
    check("1 interactions of train and 0 of validation" in notes(result, 1), f"notes: {notes(result, 1)}")
    check_figures(folder, result, truth, {"a": 1, "f": 1})


def test_study(folder, truth):
    run(folder, "study.yaml", "study")
    one, other = "study/trials/width=4", "study/trials/width=12"
    result = compare(folder, one, other)
    check(result["differences"] == [{"key": "recommenders[0].width", "values": ["4", "12"]}], "what the trials differ in")
    check_figures(folder, result, truth, {one: 1, other: 1})


def test_tables(folder):
    text = idrec(folder, "compare", "a", "b", "c", "--metric=ndcg@10").stdout
    comparisons = compare(folder, "a", "b", "c", "--metric=ndcg@10")["comparisons"]
    rows = [line.split() for line in text.splitlines() if line.startswith("ndcg@10")]
    check([row[1] for row in rows] == ["B", "C", "B"], f"rows: {rows}")
    for row, one in zip(rows, comparisons):
        check(row[2:6] == ["augmented", f"{one['mean']:.4f}", f"{one['against_mean']:.4f}",
                           f"{100 * one['relative_gain']:+.2f}"], f"row {row}")
    marked = idrec(folder, "compare", "a", "b", "--markdown").stdout
    check("\n|---|---|" in marked and marked.startswith("# "), "Markdown")


# ---- what is refused ----------------------------------------------------------------------------------------


def refused(folder, expected, words, *arguments):
    check_refusal(idrec(folder, "compare", *arguments), expected, *words)


def test_usage(folder):
    refused(folder, 2, ["name another"], "a")
    refused(folder, 2, ["name another"], "a", "--arm=augmented")
    refused(folder, 2, ["too many"], *["a"] * 27)
    refused(folder, 2, ["has no arm 'control.random'", "original, augmented"], "a", "b", "--arm=control.random")
    refused(folder, 2, ["has no ndcg@7", "recall@5"], "a", "b", "--metric=ndcg@7")
    refused(folder, 2, ["lightgcn"], "a", "b", "--recommender=lightgcn")
    refused(folder, 1, ["nowhere", "manifest.json"], "a", "nowhere")
    refused(folder, 2, ["study/trials/NAME", "width=4, width=12"], "study", "a")


def test_other_data(folder):
    for name in ("other", "more"):
        run(folder, f"{name}.yaml", f"run_{name}", "experiment.arms=[original]")
    lost = (folder / "plain" / "test.tsv").read_text().splitlines()[0].split("\t")
    for order in (["a", "run_other"], ["run_other", "a"]):
        refused(folder, 2, ["a is tested on 1 interactions that run_other", *lost], *order)
    for order in (["a", "run_more"], ["run_more", "a"]):
        refused(folder, 2, ["run_more ranks the item 'a new item', which a has not"], *order)
    run(folder, "base.yaml", "selected", "evaluate.protocol=test_selected", "experiment.arms=[original]")
    refused(folder, 2, ["protocol", "clean", "test_selected"], "a", "selected")
    run(folder, "base.yaml", "masked", "evaluate.mask=augmented")
    refused(folder, 2, ["mask", "original", "augmented"], "a", "masked")


def test_damage(folder):
    """Lists that are gone, cut short, or of the right size with other items."""
    shutil.copytree(folder / "b", folder / "broken")
    path = folder / "broken" / "recommenders" / "bpr_mf" / "augmented" / "seed-41" / "top_k.tsv"
    whole = path.read_text()
    path.unlink()
    refused(folder, 1, ["broken", "train"], "a", "broken")
    path.write_text(whole[:-40])
    refused(folder, 1, ["broken", "train"], "a", "broken")
    users = {}
    for line in whole.splitlines():
        users.setdefault(line.split("\t")[0], []).append(line.split("\t"))
    for lines in users.values():  # the best item of each user becomes his last; the ranks stay
        lines[0][1], lines[-1][1] = lines[-1][1], lines[0][1]
    path.write_text("".join("\t".join(line) + "\n" for lines in users.values() for line in lines))
    check(path.stat().st_size == len(whole), "the size stays")
    refused(folder, 1, [str(path.relative_to(folder)), "metrics.json says"], "a", "broken")
    path.write_text(whole.replace("\ti", "\tx", 1))
    refused(folder, 1, [f"{path.relative_to(folder)}:1:", "unknown id"], "a", "broken")
    path.write_text(whole)
    check(idrec(folder, "compare", "a", "broken").returncode == 0, "mended")
    interrupted = json.loads((folder / "broken" / "manifest.json").read_text())
    interrupted["stages"]["train"]["complete"] = False
    (folder / "broken" / "manifest.json").write_text(json.dumps(interrupted))
    refused(folder, 1, ["broken", "train"], "a", "broken")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        truth = make_data(folder, random.Random(7))
        test_runs(folder, truth)
        test_arms_of_one_run(folder)
        test_same_results(folder)
        test_other_order(folder, truth)
        test_one_seed(folder, truth)
        test_other_train(folder, truth)
        test_study(folder, truth)
        test_tables(folder)
        test_usage(folder)
        test_other_data(folder)
        test_damage(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
