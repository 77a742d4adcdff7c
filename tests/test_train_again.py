"""A run whose experiment grows keeps the fits that it has and ends with the results of one that began so; one that shrinks
loses the folders that are not planned any more. The baseline of the choice under the protocol test_selected. The lists of
`recommend`. What the figures of artificial data are compared with. Needs h5diff (Debian: hdf5-tools).
"""

import json
import pathlib
import shutil
import sys
import tempfile

from checking import check, idrec, lacks, status, synthesize
from test_kill import differences

CONFIG = """\
name: again
data: {path: data.inter}
language_model: {layers: 1, width: 16, heads: 2}
prompts: {random_cuts: 1}
pretrain: {epochs: 1}
finetune: {epochs: 1}
generate: {contexts: 1, max_items: 5}
augment: {per_user: [2], select_seeds: 2}
recommenders: [{model: bpr_mf, width: 8, epochs: 6}]
experiment: {seeds: 2, arms: [original, augmented, control.random]}
evaluate: {k: [10]}
"""
GROWN = ["experiment.seeds=3", "experiment.arms=[original, augmented, control.random, control.self, control.popularity]",
         "evaluate.k=[5, 10, 20]", "evaluate.metrics=[recall, ndcg, mrr]",
         "recommenders=[{model: bpr_mf, width: 8, epochs: 6}, {model: item_knn}, {model: lightgcn, width: 8, epochs: 4}]"]


def run(folder, output, *overrides):
    result = idrec(folder, "run", "again.yaml", f"output={output}", *overrides)
    check(result.returncode == 0, f"{output}: {result.stderr[-500:]}")


def log_times(folder):
    """A fit writes its log, and nothing else does."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("recommenders/bpr_mf/*/seed-*/metrics.jsonl")}


def test_growth(folder):
    run(folder, "small")
    shutil.copytree(folder / "small", folder / "changing")
    before = log_times(folder / "changing")
    check(len(before) >= 6, f"fits: {sorted(before)}")
    run(folder, "changing", *GROWN)
    after = log_times(folder / "changing")
    fitted_again = sorted(str(path) for path in before if after.get(path) != before[path])
    check(not fitted_again, f"fitted again: {fitted_again}")
    run(folder, "grown", *GROWN)
    found = differences(folder / "grown", folder / "changing")
    check(not found, f"grown: {found}")
    run(folder, "changing")
    found = differences(folder / "small", folder / "changing")
    check(not found, f"shrunk: {found}")
    check({path.name for path in (folder / "changing" / "recommenders").iterdir()} == {"bpr_mf"}, "other recommenders go")
    check("recommenders: removes item_knn, lightgcn: no longer in the configuration"
          in (folder / "changing" / "log.txt").read_text(), "the recommenders that go are told")


def test_other_settings(folder):
    """A fit of other settings is not taken for one of these, nor what an interrupted one left."""
    changed = "recommenders=[{model: bpr_mf, width: 8, epochs: 3}]"
    fit = folder / "changing" / "recommenders" / "bpr_mf" / "original" / "seed-1"
    (fit / "metrics.json").unlink()
    run(folder, "changing", changed)
    run(folder, "other", changed)
    found = differences(folder / "other", folder / "changing")
    check(not found, f"other settings: {found}")
    steps = [json.loads(line)["step"] for line in (fit / "metrics.jsonl").read_text().splitlines()]
    check(max(steps) <= 3, f"the log of the fit before is gone: {steps}")


def test_recommend(folder):
    fit = folder / "grown" / "recommenders" / "lightgcn" / "augmented" / "seed-1"
    lists = (fit / "top_k.tsv").read_text()
    users = list(dict.fromkeys(line.split("\t")[0] for line in lists.splitlines()))
    (folder / "users.txt").write_text("\n".join(users) + "\n")
    arguments = ["recommend", "grown", "--recommender=lightgcn", "--users=users.txt", "--k=20"]
    printed = idrec(folder, *arguments)
    check(printed.returncode == 0 and len(users) > 10, f"recommend: {printed.stderr[-300:]}")
    check(printed.stdout == lists, "recommend prints the lists of top_k.tsv")
    manifest_path = folder / "grown" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    for change in ({"complete": False}, {"inputs": "0" * 32}):
        stages = {**manifest["stages"], "train": {**manifest["stages"]["train"], **change}}
        manifest_path.write_text(json.dumps({**manifest, "stages": stages}))
        refused = idrec(folder, *arguments)
        check(refused.returncode == 1 and "results of train" in refused.stderr, f"recommend, {change}: {refused.stderr}")
        check(not refused.stdout, "a refused command prints no lists")


def test_truth(folder):
    """Another truth about artificial data makes the figures again, and no fit."""
    results = folder / "small" / "results.json"
    check(json.loads(results.read_text())["truth"], "artificial data have a truth")
    before = log_times(folder / "small")
    (folder / "data.inter.truth.h5").unlink()
    run(folder, "small")
    check(not json.loads(results.read_text()).get("truth"), "the truth is gone from results.json")
    check(log_times(folder / "small") == before, "no fit depends on the truth")


def test_baseline_on_validation(folder):
    """Under test_selected the arms stop on test, the trials on validation: so does what these are compared with."""
    head, *rows = (folder / "data.inter").read_text().splitlines(keepends=True)
    for name, first, last in (("train", 0, 8), ("validation", 8, 9), ("test", 9, 10)):
        part = [row for i, row in enumerate(rows) if first <= i % 10 < last]
        (folder / f"{name}.inter").write_text(head + "".join(part))
    run(folder, "published", "evaluate.protocol=test_selected", "augment.select_seeds=3",
        "data={split: {method: provided, train: train.inter, validation: validation.inter, test: test.inter}}")
    recommender = folder / "published" / "recommenders" / "bpr_mf"
    baseline = json.loads((recommender / "selection.json").read_text())["baseline"]
    scores = [json.loads((recommender / "trial-none" / f"seed-{seed}" / "metrics.json").read_text())["selection_score"]
              for seed in (1, 2, 3)]
    check(all(abs(a - b) < 1e-12 for a, b in zip(baseline, scores, strict=True)), f"baseline: {baseline}, {scores}")
    check(not (recommender / "original" / "seed-3").exists(), "the original arm is fitted for its own seeds only")
    report = (folder / "published" / "report.md").read_text()
    check(report.startswith("# again\n"), f"the report has the experiment's name: {report[:40]}")
    check("| bpr_mf, protocol test_selected, mask original |" in report, "the head of the table says the protocol")


def main():
    if lacks("h5diff"):
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "again.yaml").write_text(CONFIG)
        synthesize(folder / "data.inter", "--users=60", "--items=40", "--interactions=12")
        test_growth(folder)
        test_other_settings(folder)
        test_recommend(folder)
        test_truth(folder)
        test_baseline_on_validation(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
