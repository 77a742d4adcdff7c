"""`idrec tune`: the best trial beats a bad configuration; rungs are as declared; the same table with any number of workers and
after kills; test is not read; bad spaces are refused; every arm trains with what was found for it.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, check, idrec, status, synthesize

CONFIG = """\
name: tune
data: {path: data.inter}
language_model: {layers: 1, width: 16, heads: 2}
prompts: {random_cuts: 1}
pretrain: {epochs: 3}
finetune: {epochs: 1}
generate: {contexts: 1, max_items: 5}
augment: {per_user: [2], select_seeds: 2, margin: 0}
recommenders:
- {model: bpr_mf, width: 8, epochs: 50, learning_rate: 1.0e-6, evaluate_every: 2, patience: 0}
- {model: item_knn, neighbors: 1}
experiment: {seeds: 1}
evaluate: {k: [10]}
tune:
  trials: 20
  first_epochs: 5
  space:
  - {key: learning_rate, low: 1.0e-4, high: 1.0e-1, scale: log}
  - {key: width, low: 4, high: 16}
  - {key: neighbors, low: 2, high: 40, scale: log}
"""
ORIGINAL = ["experiment.arms=[original]"]
# first_epochs, times 3, and again, rounded up to evaluate_every.
PAUSES = [6, 16, 46]
SECONDS = 4


def tune(folder, output, *overrides):
    result = idrec(folder, "tune", "tune.yaml", f"output={output}", *overrides)
    check(result.returncode == 0, f"{output}: {result.stderr[-500:]}")
    return result.stdout


def table(folder, output, recommender="bpr_mf", arm="original"):
    """trials.tsv without the seconds."""
    path = folder / output / "tune" / recommender / arm / "trials.tsv"
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [line[:SECONDS] + line[SECONDS + 1:] for line in lines]


def tuning(folder, output, recommender="bpr_mf", arm="original"):
    return json.loads((folder / output / "tune" / recommender / arm / "tuning.json").read_text())


def test_best(folder):
    printed = tune(folder, "one", "experiment.parallel=1", *ORIGINAL)
    for recommender in ("bpr_mf", "item_knn"):
        head, best, *others = table(folder, "one", recommender)
        written = next(line for line in others if line[0] == "0")
        check(len(others) == 19, f"{recommender}: {len(others) + 1} trials")
        check(float(best[3]) > 1.1 * float(written[3]), f"{recommender}: {best} against {written}")
        scores = [float(line[3]) for line in [best, *others]]
        check(scores == sorted(scores, reverse=True), "the best trial stands first")
        check(f"{recommender}, original" in printed, f"the table of {recommender} is printed: {printed}")
    check(not (folder / "one" / "language_model").exists(), "the original arm is tuned without a language model")
    check("tune: up to date" in idrec(folder, "tune", "tune.yaml", "output=one", "experiment.parallel=1", *ORIGINAL).stderr,
          "what is done is not done again")
    learning_rate, width = table(folder, "one")[1][4:6]
    (folder / "extended.yaml").write_text("extends: one/tune/bpr_mf/original/best.yaml\ndata: {path: data.inter}\n")
    resolved = idrec(folder, "config", "extended.yaml").stdout
    check(f"width: {width}\n" in resolved and f"epochs: 50\n" in resolved, "best.yaml can be extended")
    check(float(resolved.split("learning_rate:")[-1].split()[0]) == float(learning_rate), "best.yaml has the learning rate")


def test_rungs(folder):
    """Nobody trains beyond its rung, and one of three goes on."""
    search = folder / "one" / "tune" / "bpr_mf" / "original"
    reached = []
    for trial in range(20):
        rungs = json.loads((search / f"trial-{trial}" / "metrics.json").read_text())["rungs"]
        steps = [json.loads(line)["step"] for line in (search / f"trial-{trial}" / "metrics.jsonl").read_text().splitlines()]
        pauses = [rung["pause_after"] for rung in rungs]
        check(pauses == ([*PAUSES, 0][:len(pauses)] if trial else [0]), f"trial {trial}: rungs {pauses}")
        check(all(rung["epochs"] == (rung["pause_after"] or 50) for rung in rungs), f"trial {trial}: {rungs}")
        check(steps == list(range(2, rungs[-1]["epochs"] + 1, 2)), f"trial {trial} went on where it stopped: {steps}")
        reached.append(len(rungs) - 1)
    check([sum(rung >= i for rung in reached[1:]) for i in range(4)] == [19, 6, 2, 1], f"rungs: {reached}")
    check(not list(search.rglob("checkpoint.h5")), "no checkpoint is left")
    single = json.loads((folder / "one" / "tune" / "item_knn" / "original" / "trial-3" / "metrics.json").read_text())["rungs"]
    check(len(single) == 1, f"a model without epochs is not halved: {single}")


def test_workers(folder):
    tune(folder, "two", "experiment.parallel=2", *ORIGINAL)
    for recommender in ("bpr_mf", "item_knn"):
        check(table(folder, "one", recommender) == table(folder, "two", recommender), f"{recommender}: two workers")


def finished(folder):
    """Rungs that are done, with the time at which they were recorded."""
    done = {}
    for path in folder.rglob("trial-*/metrics.json"):
        rungs = json.loads(path.read_text())["rungs"]
        if rungs and rungs[-1]["pause_after"] == 0:
            done[path] = path.stat().st_mtime_ns
    return done


def stop(folder, output, overrides, stopping, wait):
    """Starts and stops a search; False where it was over before."""
    process = subprocess.Popen([IDREC, "tune", "tune.yaml", f"output={output}", *overrides], cwd=folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline and len(list((folder / output).rglob("metrics.json"))) < wait:
        time.sleep(0.002)
    if process.poll() is not None:
        return False
    process.send_signal(stopping)
    code = process.wait(timeout=60)
    check(stopping == signal.SIGKILL or code == 130, f"an interrupted search ends with 130, not {code}")
    return True


def test_kills(folder):
    overrides = ["recommenders=[{model: bpr_mf, width: 8, epochs: 200, evaluate_every: 10, patience: 0}]",
                 "tune.space=[{key: learning_rate, low: 1.0e-4, high: 1.0e-1, scale: log}]", "tune.first_epochs=50",
                 "experiment.parallel=2", *ORIGINAL]
    tune(folder, "never", *overrides)
    stops, before = 0, {}
    for stopping, wait in ((signal.SIGKILL, 2), (signal.SIGINT, 6), (signal.SIGKILL, 12), (signal.SIGINT, 19)):
        stops += stop(folder, "killed", overrides, stopping, wait)
        before = finished(folder / "killed")
    check(stops >= 3 and not (folder / "killed" / "tune" / "bpr_mf" / "original" / "trials.tsv").exists(),
          f"{stops} stops hit the search")
    tune(folder, "killed", *overrides)
    check(before and all(path.stat().st_mtime_ns == when for path, when in before.items()), "a trial that is done is not run again")
    check(table(folder, "never") == table(folder, "killed"), "kills change nothing")
    check(not list((folder / "killed").rglob("checkpoint.h5*")), "no checkpoint is left after kills")


def test_other_settings(folder):
    """What is there of the same settings is kept, whatever the others are."""
    search = folder / "two" / "tune" / "bpr_mf" / "original"
    times = {path: path.stat().st_mtime_ns for path in search.rglob("metrics.json")}
    tune(folder, "two", "tune.trials=8", *ORIGINAL)
    names = {path.name for path in search.iterdir() if path.is_dir()}
    check(names == {f"trial-{trial}" for trial in range(8)}, f"trials beyond the last go: {sorted(names)}")
    kept = [path for path, when in times.items() if path.exists() and path.stat().st_mtime_ns == when]
    check(len(kept) >= 6, f"kept: {len(kept)}")
    tune(folder, "two", "tune.trials=8", "tune.method=random", *ORIGINAL)
    tune(folder, "fresh", "tune.trials=8", "tune.method=random", *ORIGINAL)
    check(table(folder, "two") == table(folder, "fresh"), "another method begins anew")


def test_failures(folder):
    """A trial of settings that do not work is told and does not end the search."""
    failing = ["recommenders=[{model: bpr_mf, width: 8, epochs: 6}]", *ORIGINAL, "tune.trials=6", "tune.method=random"]
    result = idrec(folder, "tune", "tune.yaml", "output=failing", *failing,
                   "tune.space=[{key: optimizer, values: [sgd]}, {key: learning_rate, values: [0.01, 10]}, "
                   "{key: regularization, values: [1.0e3]}]")
    lines = table(folder, "failing")[1:]
    failed = [line for line in lines if line[3] == "failed"]
    check(result.returncode == 0 and 0 < len(failed) < 6, f"failing: {result.returncode}, {lines}, {result.stderr[-300:]}")
    check(lines[-len(failed):] == failed and "failed: bpr_mf: the loss is not a number" in result.stderr, "the reason is told")
    result = idrec(folder, "tune", "tune.yaml", "output=all", *failing[1:], "tune.space=[{key: learning_rate, values: [10]}]",
                   "recommenders=[{model: bpr_mf, epochs: 6, optimizer: sgd, learning_rate: 10, regularization: 1.0e3}]")
    check(result.returncode == 1 and "every trial failed" in result.stderr, f"all fail: {result.stderr[-300:]}")


def test_test_is_not_read(folder):
    """Another test part changes no score."""
    head, *rows = (folder / "data.inter").read_text().splitlines(keepends=True)
    for name, parts in (("train", range(8)), ("validation", [8]), ("test", [9])):
        (folder / f"{name}.inter").write_text(head + "".join(row for i, row in enumerate(rows) if i % 10 in parts))
    fields = [line.split("\t") for line in (folder / "test.inter").read_text().splitlines()]
    items = [line[1] for line in fields[1:]]
    seen = {tuple(row.split("\t")[:2]) for row in rows}
    moved = [[line[0], item, *line[2:]] for line, item in zip(fields[1:], items[7:] + items[:7])
             if (line[0], item) not in seen]
    check(len(moved) > 40, f"another test part: {len(moved)}")
    (folder / "other.inter").write_text(head + "".join("\t".join(line) + "\n" for line in moved))
    tables = []
    for test in ("test", "other"):
        provided = f"data={{split: {{method: provided, train: train.inter, validation: validation.inter, test: {test}.inter}}}}"
        tune(folder, f"provided-{test}", provided, "tune.trials=6", "evaluate.protocol=test_selected",
             "experiment.arms=[original, augmented]", "tune.arms=[original, augmented]", "augment.select=fixed",
             "augment.use=[positives]")
        tables.append([table(folder, f"provided-{test}", arm=arm) for arm in ("original", "augmented")])
    datasets = [(folder / f"provided-{test}" / "dataset.h5").read_bytes() for test in ("test", "other")]
    check(datasets[0] != datasets[1], "the test parts differ")
    check(tables[0] == tables[1], "scores depend on test")


def test_use(folder):
    """The fits of each arm are those of its best trial; without use, those of the configuration as written."""
    names = ("original", "augmented", "control.itemknn", "control.random")
    arms = [f"experiment.arms=[{', '.join(names)}]", f"tune.arms=[{', '.join(names)}]", "tune.method=random", "tune.trials=8"]
    result = idrec(folder, "run", "tune.yaml", "output=used", "tune.use=true", *arms)
    check(result.returncode == 0, f"use: {result.stderr[-500:]}")

    def trained(arm):
        path = folder / "used" / "recommenders" / "bpr_mf" / arm / "seed-1" / "metrics.json"
        return json.loads(path.read_text())["selection_score"]

    searches = {arm: tuning(folder, "used", arm=arm) for arm in names}
    check(searches["augmented"].get("shared_with") is None, f"the augmented arm has rows of its own: {searches['augmented']}")
    for arm, search in searches.items():
        check(search["trials"] == 8 and search["best"]["trial"] != 0, f"{arm}: {search}")
        check(abs(trained(arm) - search["best"]["score"]) < 1e-12, f"{arm}: {trained(arm)}, {search['best']}")
    trial = folder / "used" / "recommenders" / "bpr_mf" / "trial-positives-2" / "seed-1" / "metrics.json"
    check(abs(json.loads(trial.read_text())["selection_score"] - searches["augmented"]["best"]["score"]) < 1e-12,
          "rows are judged with the settings that were found on them")
    results = json.loads((folder / "used" / "results.json").read_text())
    check([(entry["recommender"], entry["arm"]) for entry in results["tuning"]] ==
          [(name, arm) for name in ("bpr_mf", "item_knn") for arm in names], "results.json says what was tuned")
    check("tune" in [entry["stage"] for entry in results["cost"]], "the search is among the costs")
    report = (folder / "used" / "report.md").read_text()
    check("had the same budget: the same 8 trials" in report, "the report says that the budgets are the same")
    result = idrec(folder, "run", "tune.yaml", "output=used", *arms)
    check(result.returncode == 0, f"without use: {result.stderr[-500:]}")
    check(abs(trained("original") - searches["original"]["as_written"]["score"]) < 1e-12, "without use as written")
    check("tuning" not in json.loads((folder / "used" / "results.json").read_text()), "nothing tuned was used")


def test_rows_and_settings(folder):
    """Rows that gain nothing with the settings of the original arm are searched on all the same; candidates that no search has
    settings for are fitted once."""
    arms = ["experiment.arms=[original, augmented, control.random]", "tune.use=true", "tune.method=random", "tune.trials=4",
            "augment.margin=100", "augment.use=[none, exclude_from_negatives, positives]", "augment.per_user=[1, 2]"]
    result = idrec(folder, "run", "tune.yaml", "output=refused", *arms, "tune.arms=[original, augmented]")
    check(result.returncode == 0, f"refused: {result.stderr[-500:]}")
    candidates = folder / "refused" / "tune_candidates" / "bpr_mf"
    best = max((f"{use}-{rows}" for use in ("exclude_from_negatives", "positives") for rows in (1, 2)), key=lambda name: sum(
        json.loads(path.read_text())["selection_score"] for path in candidates.glob(f"trial-{name}/seed-*/metrics.json")))
    tried = json.loads((candidates / "selection.json").read_text())
    check(tried["chosen"] == "none" and tried["controls"] == best, f"the best candidate is {best}: {tried}")
    search = tuning(folder, "refused", arm="augmented")
    check(search.get("shared_with") is None, "what is refused is searched on all the same")
    trial = folder / "refused" / "recommenders" / "bpr_mf" / f"trial-{best}" / "seed-1" / "metrics.json"
    check(abs(json.loads(trial.read_text())["selection_score"] - search["best"]["score"]) < 1e-12,
          f"trial-{best} has the settings of the search")
    fits = folder / "refused" / "recommenders" / "bpr_mf"
    lists = [(fits / arm / "seed-1" / "top_k.tsv").read_bytes() for arm in ("original", "augmented")]
    check(lists[0] == lists[1], "an arm that adopts nothing is the original one")
    neighbors = json.loads((folder / "refused" / "recommenders" / "item_knn" / "selection.json").read_text())
    unchanged = {entry["choice"]: entry["gain"] for entry in neighbors["candidates"] if entry["use"] == "exclude_from_negatives"}
    check(unchanged == {"exclude_from_negatives-1": 0, "exclude_from_negatives-2": 0} and "positives" in neighbors["controls"],
          f"what is kept out of negatives changes no item-kNN, whatever was found on rows: {neighbors}")
    result = idrec(folder, "run", "tune.yaml", "output=once", *arms, "tune.arms=[original, control.random]")
    check(result.returncode == 0, f"once: {result.stderr[-500:]}")
    seconds = [[json.loads(path.read_text())["seconds"]
                for path in sorted((folder / "once" / place / "bpr_mf").glob("trial-positives-*/seed-*/metrics.json"))]
               for place in ("tune_candidates", "recommenders")]
    check(len(seconds[0]) == 4 and seconds[0] == seconds[1], f"candidates are fitted once: {seconds}")


def test_added_rows_alone(folder):
    """What says how added rows are used is not drawn by chance for the original rows, and with them for arms without a search."""
    tune(folder, "position", "experiment.arms=[original, augmented]", "tune.arms=[original, augmented]", "tune.trials=6",
         "tune.method=random", "recommenders=[{model: sasrec, width: 8, heads: 1, length: 10, epochs: 1}]",
         "tune.space=[{key: dropout, low: 0, high: 0.5}, {key: synthetic_position, values: [appended, inserted]}]")
    drawn = {arm: {line[-1] for line in table(folder, "position", "sasrec", arm)[1:]} for arm in ("original", "augmented")}
    check(drawn == {"original": {"targets"}, "augmented": {"targets", "appended", "inserted"}},
          f"the place of added rows is drawn where there are any: {drawn}")


BAD_SPACES = [
    ("{key: learning_rat, low: 1, high: 2}", "learning_rat' is no setting of recommenders; did you mean learning_rate?"),
    ("{key: epochs, low: 1, high: 2}", "is the same in every trial"),
    ("{key: learning_rate, low: 0, high: 0.1, scale: log}", "a logarithmic scale has no place for 0"),
    ("{key: learning_rate, low: 0.1, high: 20}", "20 is out of range"),
    ("{key: learning_rate, low: 0.2, high: 0.1}", "0.1 is not above `low`"),
    ("{key: learning_rate, low: 0.2}", "needs `low` and `high`"),
    ("{key: width, low: 1.5, high: 4}", "1.5 is not a whole number"),
    ("{key: width, low: 1, high: 4, values: [2]}", "stand beside"),
    ("{key: width, values: [2, many]}", "'many' is not a number"),
    ("{key: similarity, low: 1, high: 2}", "is a word"),
    ("{key: similarity, values: [cosin]}", "'cosin' is not among the values"),
    ("{key: dropout, low: 0.1, high: 0.2}", "none of bpr_mf, item_knn reads dropout"),
    ("{key: width, low: 1, high: 4, recommender: item_knn}", "no recommender item_knn reads width"),
    ("{key: width, low: 1, high: 4, recommender: bpr}", "no recommender bpr reads width; there are bpr_mf, item_knn"),
]


def test_bad_spaces(folder):
    place = "  - {key: width, low: 4, high: 16}\n"
    line = CONFIG[:CONFIG.index(place)].count("\n") + 1
    for space, message in BAD_SPACES:
        (folder / "bad.yaml").write_text(CONFIG.replace(place, f"  - {space}\n"))
        result = idrec(folder, "config", "bad.yaml")
        found = result if result.returncode else idrec(folder, "tune", "bad.yaml", "output=bad")
        check(found.returncode == 2 and message in found.stderr and f"bad.yaml:{line}: tune.space[1]" in found.stderr,
              f"{space}: {found.returncode} {found.stderr}")
    for overrides, message in ((["tune.space=[]"], "tune.space: is empty"), (["tune.space=[]", "tune.use=true"], "tune.use"),
                               (["tune.space=[{low: 1, high: 2}]"], "entry 1 has no key"),
                               (["tune.arms=[augmented]", *ORIGINAL], "augmented is not among experiment.arms"),
                               (["tune.space=[{key: width, values: [1]}, {key: width, values: [2]}]"], "declared twice")):
        result = idrec(folder, "tune", "tune.yaml", "output=bad", *overrides)
        check(result.returncode == 2 and message in result.stderr, f"{overrides}: {result.returncode} {result.stderr}")
    check(not (folder / "bad" / "tune").exists(), "a refused search leaves nothing")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "tune.yaml").write_text(CONFIG)
        synthesize(folder / "data.inter", "--users=100", "--items=60", "--interactions=12")
        for test in (test_best, test_rungs, test_workers, test_kills, test_other_settings, test_failures,
                     test_test_is_not_read, test_use, test_rows_and_settings, test_added_rows_alone,
                     test_bad_spaces):
            started = time.monotonic()
            test(folder)
            if os.environ.get("IDREC_TIMES"):
                print(f"{test.__name__}: {time.monotonic() - started:.1f} s", flush=True)
    return status()


if __name__ == "__main__":
    sys.exit(main())
