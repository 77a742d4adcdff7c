"""The study's tables in docs/results.md are those of the stored results: `scripts/study-tables --check` says so, and the gains, their
counts and the controls are worked out here again from the fits' own metrics. A page with another figure is refused.
"""

import gzip
import json
import re
import subprocess
import sys
import tempfile

from checking import IDREC, SOURCE, check, status

METRIC = "ndcg@20"
EQUAL_COUNT = ("random", "popularity", "itemknn", "self", "ensemble", "permuted")
NAMES = {"popularity": "popularity", "item-kNN": "item_knn", "EASE": "ease", "BPR-MF": "bpr_mf", "LightGCN": "lightgcn",
         "SimGCL": "simgcl", "XSimGCL": "xsimgcl", "SASRec-CE": "sasrec", "BERT4Rec": "bert4rec"}


def part(page, name):
    return page.split(f"<!-- {name} -->\n")[1].split(f"<!-- end of {name} -->")[0]


def rows_of(lines):
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in lines
            if line.startswith("|") and not set(line) <= set("|- ")][1:]


def read_gains(page):
    """{data set: {recommender: cells}} of the page."""
    found = {}
    for line in part(page, "study: gains").splitlines():
        title = re.match(r"\*\*(.+?)\*\*", line)
        if title:
            lines = found[title[1]] = []
        elif line:
            lines.append(line)
    return {name: {NAMES[row[0]]: row[1:] for row in rows_of(lines)} for name, lines in found.items()}


def means(results):
    """{(recommender, arm): mean over seeds}."""
    values = {}
    for run in results["runs"]:
        values.setdefault((run["recommender"], run["arm"]), []).append(run["metrics"][METRIC])
    check(len({len(list_) for list_ in values.values()}) == 1, "arms have different numbers of seeds")
    return {key: sum(list_) / len(list_) for key, list_ in values.items()}


def first_number(cell):
    return float(re.search(r"[-+]?[0-9]*\.?[0-9]+", cell.replace("*", ""))[0])


def interval(cell):
    low, high = re.search(r"\[([-+.0-9]+), ([-+.0-9]+)\]", cell).groups()
    return float(low), float(high)


def near(cell, value, digits):
    return abs(first_number(cell) - value) <= 0.5001 * 10 ** -digits


def check_row(name, results, recommender, cells, mean):
    original, augmented, gain, _, control, over_control, alone, fused = cells
    where = f"{name}, {recommender}"
    for cell, arm in ((original, "original"), (augmented, "augmented"), (alone, "control.generator"), (fused, "control.fusion")):
        check(near(cell, mean[recommender, arm], 4), f"{where}: {arm} is {mean[recommender, arm]}, not {cell}")
    strongest = max(EQUAL_COUNT, key=lambda arm: mean[recommender, f"control.{arm}"])
    check(control.split()[0] == strongest, f"{where}: the strongest control is {strongest}, not {control}")
    check(near(control.split()[1], mean[recommender, f"control.{strongest}"], 4), f"{where}: {control}")
    for cell, against in ((gain, "original"), (over_control, f"control.{strongest}")):
        expected = 100 * (mean[recommender, "augmented"] / mean[recommender, against] - 1)
        check(near(cell, expected, 1), f"{where}: {expected:.2f} % over {against}, not {cell}")
        if cell != "0":
            low, high = interval(cell)
            told = [entry for entry in results["comparisons"] if entry["metric"] == METRIC and
                    (entry["recommender"], entry["arm"], entry["against"]) == (recommender, "augmented", against)][0]
            check(near(f"{low}", 100 * told["ci95"][0], 1) and near(f"{high}", 100 * told["ci95"][1], 1), f"{where}: {told['ci95']}")
            check(cell.startswith("**") == (low > 0 or high < 0) or 0 in (low, high), f"{where}: {cell} is marked wrongly")
            check(low <= first_number(cell) <= high, f"{where}: {cell} lies outside of its interval")


def check_gains(page):
    stored = {path.name.removesuffix(".json.gz"): json.loads(gzip.decompress(path.read_bytes()))
              for path in (SOURCE / "docs" / "results" / "study").glob("*.json.gz")}
    shown = read_gains(page)
    check(stored and set(shown) == set(stored), f"shown {sorted(shown)}, stored {sorted(stored)}")
    better = worse = 0
    for name, results in stored.items():
        check((results["protocol"], results["mask"]) == ("clean", "original"), f"{name}: {results['protocol']}, {results['mask']}")
        mean = means(results)
        check(set(shown[name]) == {key[0] for key in mean}, f"{name}: {sorted(shown[name])}")
        for recommender, cells in shown[name].items():
            check_row(name, results, recommender, cells, mean)
            better += cells[2].startswith("**+")
            worse += cells[2].startswith("**-")
        config = SOURCE / "configs" / "paper" / "study" / f"{name}.yaml"
        check(config.exists(), f"{config} is missing")
    summary = {row[0]: row[1:] for row in rows_of(part(page, "study: summary").splitlines())}
    counts = list(map(int, summary["augmented against original"]))
    check((counts[0], counts[2]) == (better, worse) and sum(counts) == sum(map(len, shown.values())), f"counted {better}, {worse}: {counts}")


TRIALS = {"a token for each item": "tokens", "codes of items that go together": "collaborative-codes", "text: ids of the data set": "raw",
          "text: numbers in their order": "numbers", "text: numbers in a random order": "relabelled", "text: random letters": "random-letters"}


def check_ids(page):
    results = json.loads((SOURCE / "docs" / "results" / "ids" / "results.json").read_text())
    mean = {(trial["trial"], entry["recommender"], entry["arm"]): entry["test"][METRIC]
            for trial in results["trials"] for entry in trial["recommenders"]}
    rows = rows_of(part(page, "study: ids").splitlines())
    check({TRIALS[row[0]] for row in rows} == {trial for trial, _, _ in mean}, f"trials of the page: {[row[0] for row in rows]}")
    for words, *cells in rows:
        for recommender, cell in zip(("bpr_mf", "als", "ease"), cells):
            expected = 100 * (mean[TRIALS[words], recommender, "augmented"] / mean[TRIALS[words], recommender, "original"] - 1)
            check(near(cell, expected, 1), f"{words}, {recommender}: {expected:.2f} %, not {cell}")


def without_paths(text):
    """A resolved configuration without what depends on where it lies."""
    return [line for line in text.splitlines() if not re.match(r"\s*(output|path|train|validation|test): ", line)]


def resolve(config, *overrides):
    told = subprocess.run([IDREC, "config", config, *overrides], capture_output=True, text=True, timeout=60)
    check(told.returncode == 0, f"{config}: {told.stderr}")
    return without_paths(told.stdout)


def check_configurations():
    """What was run is what the page names; keys that the program did not have then have the default that changes nothing."""
    for stored in (SOURCE / "docs" / "results" / "study").glob("*.yaml"):
        config = SOURCE / "configs" / "paper" / "study" / stored.name
        paths = ("data.split.train", "data.split.test") if "method: provided" in stored.read_text() else ("data.path",)
        run, now = resolve(stored, *(f"{path}=left-out" for path in paths)), resolve(config)
        different = [line for line in run if line not in now] + [line for line in now if line not in run]
        check(run == now, f"{stored.name} was run with other settings than {config} has: {different[:6]}")


def check_refused(page):
    """A page with one other digit."""
    table = part(page, "study: gains")
    figure = re.search(r"\| \.([0-9]{4}) \|", table)[1]
    other = page.replace(table, table.replace(figure, f"{(int(figure) + 1) % 10000:04d}", 1))
    with tempfile.NamedTemporaryFile("w", suffix=".md") as file:
        file.write(other)
        file.flush()
        told = tables("--check", file.name)
        check(told.returncode == 1 and "differs" in told.stderr, f"another figure: {told.returncode} {told.stderr}")


def tables(*options):
    return subprocess.run([sys.executable, SOURCE / "scripts" / "study-tables", *options], capture_output=True, text=True, timeout=120)


def main():
    page = (SOURCE / "docs" / "results.md").read_text()
    told = tables("--check")
    check(told.returncode == 0, f"study-tables --check: {told.returncode} {told.stderr}")
    check_gains(page)
    check_ids(page)
    check_configurations()
    check_refused(page)
    return status()


if __name__ == "__main__":
    sys.exit(main())
