"""What a study ends with: its comparisons recomputed from the lists of the trials' fits and the files of a provided split, its
report and the page that holds it, its tables as CSV and as LaTeX.
"""

import csv
import html.parser
import json
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

from checking import check, idrec, status
from test_compare import make_data, near, user_values

STUDY = """\
extends: base.yaml
name: study
experiment:
  arms: [original, augmented, control.random, control.popularity]
  reference: full
  sweep_list:
  - {name: untuned, finetune.method: none}
  - {name: full}
  - {name: wide-100, "recommenders[0].width": 12}
  - {name: four-rows, augment.per_user: [4]}
  - {name: bare, experiment.arms: [original]}
  - {name: chosen, augment.select: validation}
  - {name: on-test, evaluate.protocol: test_selected}
  - {name: five-seeds, experiment.seeds: 2}
  - {name: late-seeds, seed: 7}
  - {name: other-test, data.split.test: other/test.tsv}
  - {name: one-recommender, recommenders: [{model: bpr_mf, width: 8, epochs: 6}]}
  - {name: noise, data.split.train: noise/train.tsv}
  - {name: lost, data.split.train: missing.tsv}
"""
ORIGINALS = """\
extends: base.yaml
name: originals
experiment:
  arms: [original]
  seeds: 5
  sweep_list: [{name: plain}, {name: wide, "recommenders[0].width": 12}, {name: again, finetune.rank: 8},
               {name: few, experiment.seeds: 2}, {name: noise, data.split.train: noise/train.tsv}]
"""
REASONS = {("bare", "bpr_mf"): "no augmented arm", ("bare", "item_knn"): "no augmented arm",
           ("five-seeds", "bpr_mf"): "another number of seeds", ("five-seeds", "item_knn"): "another number of seeds",
           ("late-seeds", "bpr_mf"): "other seeds", ("late-seeds", "item_knn"): "other seeds",
           ("other-test", "bpr_mf"): "full is tested on 1 interactions that other-test", ("other-test", "item_knn"): "is not tested on",
           ("one-recommender", "item_knn"): "no such recommender"}
# A trial that has the original arm of the reference is not held against it, unless it has no other.
PAIRED = {("untuned", "augmented"), ("four-rows", "augmented"), ("wide-100", "augmented"), ("wide-100", "original"),
          ("one-recommender", "augmented"), ("bare", "original"), ("chosen", "augmented"), ("on-test", "augmented"),
          ("on-test", "original"), ("noise", "augmented"), ("noise", "original")}
FAMILY = {"p_holm", "family", "detectable_difference", "detectable_relative_gain"}
STUDY_ALONE = {"trial", "against_trial", "question", "family_name"}
RULES = {"on-test": "one of both chose its epochs on test", "noise": "the trials learn from other train interactions"}


def add_noise(folder, generator):
    """A train part of the same users and items, in the same order, whose other pairs are drawn at random."""
    parts = {part: [tuple(line.split("\t")) for line in (folder / "plain" / f"{part}.tsv").read_text().splitlines()]
             for part in ("train", "validation", "test")}
    seen, pairs = {}, dict.fromkeys(parts["validation"] + parts["test"])
    others = len(pairs)
    for user, item in parts["train"]:
        if item in seen:
            item = generator.choice([other for other in seen if (user, other) not in pairs])
        seen[item] = pairs[user, item] = None
    (folder / "noise").mkdir()
    (folder / "noise" / "train.tsv").write_text("".join(f"{user}\t{item}\n" for user, item in list(pairs)[others:]))


# ---- comparisons --------------------------------------------------------------------------------------------


def values_of(study, trial, comparison, arm, truth):
    """[{user: value}] of every seed."""
    metric, cut = comparison["metric"].split("@")
    place = study / "trials" / trial / "recommenders" / comparison["recommender"] / arm
    return [user_values(place / f"seed-{number}", truth, metric, int(cut)) for number in (1, 2, 3)]


def test_against_reference(study, results, truth):
    found = set()
    for comparison in results["comparisons"]:
        if comparison["trial"] == comparison["against_trial"]:
            continue
        what = " ".join(comparison[key] for key in ("trial", "recommender", "arm", "metric"))
        check(comparison["against_trial"] == "full" and comparison["arm"] == comparison["against"], f"{what}: against what")
        found.add((comparison["trial"], comparison["arm"]))
        mine = values_of(study, comparison["trial"], comparison, comparison["arm"], truth)
        other = values_of(study, "full", comparison, comparison["arm"], truth)
        average, against = (statistics.fmean(value for fit in fits for value in fit.values()) for fits in (mine, other))
        near(comparison["mean"], average, f"{what}: mean")
        near(comparison["against_mean"], against, f"{what}: mean of the reference")
        near(comparison["relative_gain"], average / against - 1, f"{what}: gain")
        gaps = [statistics.fmean(fit[user] for fit in mine) - statistics.fmean(fit[user] for fit in other)
                for user in truth]
        check(comparison.get("rules") == RULES.get(comparison["trial"]) and
              RULES.get(comparison["trial"], "") in comparison.get("note", ""), f"{what}: other rules")
        check(comparison["same_results"] == (mine == other), f"{what}: the same results or not")
        if mine == other:
            check("the same results" in comparison["note"] and comparison["p"] is None and comparison["ci95"] is None,
                  f"{what}: something is stated of the same results")
        elif any(gaps):
            near(comparison["effect_size"], statistics.fmean(gaps) / statistics.stdev(gaps), f"{what}: effect size")
    check(found == PAIRED, f"compared with the reference: {sorted(found ^ PAIRED)}")


def test_own(study, results):
    """The comparisons of a trial with its own arms are its own, but for the family."""
    count = 0
    for trial in results["trials"]:
        if trial["state"] != "done":
            continue
        own = [one for one in json.loads((study / trial["folder"] / "results.json").read_text())["comparisons"]
               if one["arm"] == "augmented"]
        taken = [{key: value for key, value in one.items() if key not in STUDY_ALONE}
                 for one in results["comparisons"] if one["trial"] == one["against_trial"] == trial["trial"]]
        rest = [[{key: value for key, value in one.items() if key not in FAMILY} for one in each] for each in (own, taken)]
        check(rest[0] == rest[1], f"{trial['trial']}: its own comparisons")
        count += len(taken)
    check(count == 11 * 2 * 4 * 3 - 12, f"{count} comparisons within trials")


def question_of(comparison):
    if comparison["trial"] != comparison["against_trial"]:
        return "reference"
    return "original" if comparison["against"] == "original" else "controls"


def fits_of(study, trial, recommender, arm, truth, metric):
    """All values of all seeds, as one tuple."""
    name, cut = metric.split("@")
    place = study / "trials" / trial / "recommenders" / recommender / arm
    return tuple(tuple(sorted(user_values(fit, truth, name, int(cut)).items())) for fit in sorted(place.glob("seed-*")))


def truth_of(folder, part):
    truth = {}
    for line in (folder / part / "test.tsv").read_text().splitlines():
        user, item = line.split("\t")
        truth.setdefault(user, set()).add(item)
    return truth


def test_families(study, results, folder):
    """Three questions a metric; comparisons whose values are the same on both sides count once, by the lists themselves."""
    truths = {part: truth_of(folder, part) for part in ("plain", "other")}
    families, values = {}, {}

    def arm_values(trial, comparison, arm):
        key = (trial, comparison["recommender"], arm, comparison["metric"])
        if key not in values:
            truth = truths["other" if trial == "other-test" else "plain"]
            values[key] = fits_of(study, trial, comparison["recommender"], arm, truth, comparison["metric"])
        return values[key]

    for comparison in results["comparisons"]:
        check(comparison["question"] == question_of(comparison), f"question: {comparison}")
        check(comparison["family_name"] == f"{comparison['metric']}, {comparison['question']}", f"family: {comparison}")
        family = families.setdefault(comparison["family_name"], {})
        if comparison["p"] is None:
            check(comparison["p_holm"] is None, f"p of Holm without a p: {comparison}")
            continue
        sides = (arm_values(comparison["trial"], comparison, comparison["arm"]),
                 arm_values(comparison["against_trial"], comparison, comparison["against"]))
        family.setdefault(sides, []).append(comparison)
    copies = 0
    for name, family in families.items():
        largest = 0.0
        ordered = sorted(family.values(), key=lambda alike: max(one["p"] for one in alike))
        for place, alike in enumerate(ordered):
            copies += len(alike) - 1
            largest = max(largest, min(1.0, max(one["p"] for one in alike) * (len(ordered) - place)))
            for one in alike:
                near(one["p_holm"], largest, f"{name}, {one['trial']}: p of Holm")
                check(one["family"] == len(ordered), f"{name}: a family of {one['family']}, not {len(ordered)}")
    check(copies > 0, "no comparison is there twice: nothing is tested")
    listed = {family["name"]: (family["size"], family["comparisons"]) for family in results["families"]}
    check(listed == {name: (len(family), sum(one["family_name"] == name for one in results["comparisons"]))
                     for name, family in families.items()}, f"families: {listed}")
    check({family["question"] for family in results["families"]} == {"original", "controls", "reference"}, "questions")


def test_reasons(results):
    check(results["reference"] == "full", f"reference {results['reference']}")
    found = {(entry["trial"], entry["recommender"]): entry["reason"] for entry in results["not_compared"]}
    check(found.keys() == REASONS.keys(), f"not compared: {found}")
    for key, reason in REASONS.items():
        check(reason in found.get(key, ""), f"{key}: {found.get(key)}")


# ---- tables -------------------------------------------------------------------------------------------------


def parsed(value):
    """A value of results.json as a field of CSV has it."""
    return {None: "", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


COMPARISON_COLUMNS = """recommender arm against metric mean against_mean seeds users relative_gain ci95.low ci95.high difference
difference_ci95.low difference_ci95.high effect_size effect_size_ci95.low effect_size_ci95.high p p_holm family p_seeds p_users
flips deviation_seeds deviation_users detectable_difference detectable_relative_gain note fingerprint same_results""".split()


def columns_of(path):
    return path.read_text().splitlines()[0].split(",")


def check_records(path, records):
    with path.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    check(len(lines) == len(records), f"{path.name}: {len(lines)} lines, {len(records)} records")
    for line, record in zip(lines, records):
        for key, value in record.items():
            if isinstance(value, dict):
                fields = {f"{key}.{name}": inner for name, inner in value.items()}
            elif key.endswith("ci95"):
                fields = dict(zip((f"{key}.low", f"{key}.high"), value or (None, None)))
            elif isinstance(value, list):
                fields = {f"{key}.{place}": inner for place, inner in enumerate(value, 1)}
            else:
                fields = {key: value}
            for name, inner in fields.items():
                same = float(line[name]) == inner if isinstance(inner, float) else line[name] == parsed(inner)
                check(same, f"{path.name}: {name} is {line.get(name)}, not {inner}")


def test_csv(study, results):
    tables = study / "tables"
    check_records(tables / "comparisons.csv", results["comparisons"])
    check(columns_of(tables / "comparisons.csv") == ["trial", "against_trial", *COMPARISON_COLUMNS, "question",
                                                      "family_name", "rules"],
          f"columns: {columns_of(tables / 'comparisons.csv')}")
    check(columns_of(study / "trials" / "full" / "tables" / "comparisons.csv") == COMPARISON_COLUMNS, "columns of a run")
    fits = columns_of(tables / "runs.csv")
    figures = [name for name in fits if re.match(r"(metrics|validation)\.", name)]
    check(figures == sorted(figures) and "metrics.recall@5" in figures and fits ==
          ["trial", "recommender", "arm", "seed", "epochs", "best_epoch", "seconds", *figures, "rows_added", "ties",
           "still_improving", "copied_from"], f"columns of fits: {fits}")
    check(columns_of(tables / "trials.csv")[:5] == ["trial", "state", "reference", "stage", "reason"], "columns of trials")
    own = {trial["trial"]: json.loads((study / trial["folder"] / "results.json").read_text())
           for trial in results["trials"] if trial["state"] == "done"}
    for name in ("runs", "cost"):
        check_records(tables / f"{name}.csv", [{"trial": trial} | record for trial in own for record in own[trial][name]])
    candidates = [{"recommender": one["recommender"], "chosen": candidate["choice"] == one["chosen"]} | candidate
                  for one in own["chosen"]["selection"] for candidate in one["candidates"]]
    check(all(len(candidate["scores"]) == 2 for candidate in candidates) and candidates, f"candidates: {candidates}")
    check_records(study / "trials" / "chosen" / "tables" / "selection.csv", candidates)
    check_records(study / "trials" / "full" / "tables" / "runs.csv", own["full"]["runs"])
    check_records(study / "trials" / "full" / "tables" / "comparisons.csv", own["full"]["comparisons"])
    with (tables / "trials.csv").open(newline="") as stream:
        lines = {line["trial"]: line for line in csv.DictReader(stream)}
    check(list(lines) == [trial["trial"] for trial in results["trials"]], f"trials.csv: {list(lines)}")
    check(lines["four-rows"]["augment.per_user"] == "[4]" and "missing.tsv" in lines["lost"]["reason"], "trials.csv: values")


def check_latex(path):
    """Head, rules and rows of equal length; what LaTeX reserves is escaped; braces and mathematics are closed."""
    text = path.read_text()
    check(text.isascii(), f"{path.name}: characters that a plain document lacks")
    body = re.fullmatch(r"% needs \\usepackage\{booktabs\}\n\\begingroup\\\w+\\setlength\{\\tabcolsep\}\{3pt\}%\n\\begin\{tabular\}\{@\{\}((?:[lr]|p\{\d+pt\})+)@\{\}\}\n\\toprule\n(.*)"
                        r"\\bottomrule\n\\end\{tabular\}%\n\\endgroup\n", text, re.DOTALL)
    check(body is not None, f"{path.name}: no table of booktabs")
    rows = [line for line in body.group(2).splitlines() if line != "\\midrule"]
    check(len(rows) > 1 and body.group(2).count("\\midrule") == 1, f"{path.name}: {len(rows)} rows")
    heads = rows[0].removesuffix("\\\\").split(" & ")
    check(len(set(heads)) == len(heads), f"{path.name}: columns of the same head: {heads}")
    check(not re.search(r"(^|[ \]}])-\d", body.group(2), re.MULTILINE), f"{path.name}: a hyphen for a minus")
    for row in rows:
        check(row.endswith(" \\\\"), f"{path.name}: a row without its end: {row}")
        bare = re.sub(r"\\[{}$&#%_]", "", row.removesuffix("\\\\"))
        check(bare.count("&") == len(re.sub(r"\{\d+pt\}", "", body.group(1))) - 1, f"{path.name}: cells of {row}")
        check(bare.count("$") % 2 == 0 and bare.count("{") == bare.count("}"), f"{path.name}: not closed: {row}")
        check(not re.search(r"[#%_~^]", bare), f"{path.name}: not escaped: {row}")
        check(not re.match(r"\s*\[", bare), f"{path.name}: a row that begins like an argument of the one before")


def test_latex(study, scratch):
    paths = sorted(study.glob("tables/*.tex")) + sorted(study.glob("trials/full/tables/*.tex"))
    names = {path.name for path in paths}
    check({"study.tex", "gains-bpr_mf.tex", "trials-item_knn.tex", "cost.tex", "arms-bpr_mf.tex"} <= names, f"LaTeX: {names}")
    for path in paths:
        check_latex(path)
    if shutil.which("pdflatex") is None:
        return
    inputs = "\n\n".join(f"\\typeout{{TABLE {path.name}}}\\noindent\\input{{{path}}}" for path in paths)
    (scratch / "all.tex").write_text("\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
                                     f"{inputs}\n\\end{{document}}\n")
    result = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"], cwd=scratch,
                            capture_output=True, text=True, timeout=120)
    check(result.returncode == 0, f"pdflatex: {result.stdout[-600:]}")
    for part in result.stdout.split("TABLE ")[1:]:
        wide = re.search(r"Overfull \\hbox \(([\d.]+)pt", part)
        own = re.match(r"(gains|differences|originals|trials|groups)-", part)
        check(not (wide and own), f"wider than a page: {part[:30].split()[0]}: {wide and wide.group(1)} pt")


# ---- report -------------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """Tags that must be closed, anchors, references and headings of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.references, self.outer, self.tables = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag not in ("meta", "wbr", "br", "link", "img"):
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        for name in ("src", "href", "xlink:href", "data"):
            if name in values:
                (self.references if values[name].startswith("#") else self.outer).append(values[name])
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append(0)
        elif tag in ("td", "th"):
            self.tables[-1][-1] += 1

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in ("meta", "wbr", "br", "link", "img"):
            check(self.open and self.open.pop() == tag, f"report.html: </{tag}> closes another tag")


def test_page(path, sections):
    text = path.read_text()
    page = Page(text)
    check(not page.open, f"{path}: not closed: {page.open}")
    check(all((path.parent / name).resolve().is_file() for name in page.outer), f"{path}: leads nowhere: {page.outer}")
    check(all(name.endswith("report.html") for name in page.outer), f"{path}: leans on {page.outer}")
    check(len(set(page.ids)) == len(page.ids), f"{path}: anchors that occur twice")
    check(set(page.references) <= {f"#{name}" for name in page.ids}, f"{path}: references to nothing")
    check([name for name in sections if f"#{name}" not in page.references] == [], f"{path}: {page.references}")
    check(all(len(set(rows)) == 1 for rows in page.tables) and page.tables, f"{path}: rows of unequal length")
    check('name="viewport"' in text and "@media print" in text and "overflow-x:auto" in text, f"{path}: style")
    check("@import" not in text and "url(http" not in text, f"{path}: a style from elsewhere")
    return text


def test_report(study, results):
    text = (study / "report.md").read_text()
    for section in ("Verdict", "What was run", "Failed", "Gains", "Groups and popularity", "Cost", "Trials",
                    "Not compared with the reference", "How to read this"):
        check(f"\n## {section}\n" in text, f"report.md: no section {section}")
    check("missing.tsv" in text.split("## Failed")[1].split("##")[0], "the reason of a failure")
    check("3 seeds an arm are too few" in text, "too few seeds are told")
    page = test_page(study / "report.html", ("verdict", "gains", "trials", "cost"))
    test_page(study / "trials" / "full" / "report.html", ("verdict", "arms", "cost"))
    gain = next(one for one in results["comparisons"]
                if (one["trial"], one["recommender"], one["against"], one["metric"]) ==
                ("four-rows", "bpr_mf", "original", "recall@10"))
    row = next(line for line in text.splitlines() if line.startswith("| four-rows |"))
    check(f"{100 * gain['relative_gain']:+.2f} %" in row, f"the gain of a trial: {row}")
    check("<title>" not in page.split("</head>")[1], "titles that a pointer shows")
    groups = text.split("\n## Groups and popularity\n")[1].split("\n## ")[0]
    check("| gain in recall@10, users with |" in groups and re.search(r"\| four-rows \|( [+-][\d.]+ % \|)+", groups),
          f"no table of groups: {groups[:600]}")
    check("Protocol test_selected, in 1 of 13 trials" in text, "that a trial chose its epochs on test is not told")
    notes = text.split("\n## Gains\n")[1].split("\n### item_knn\n")[0]
    check(re.search(r"one of both chose its epochs on test:\W* on-test against full \(original\), on-test against full \(augmented\)\n", notes), f"a note is not told: {notes}")
    if shutil.which("gnuplot"):
        for name in ("gains-bpr_mf", "groups-bpr_mf", "gini-bpr_mf", "arp-item_knn", "cost"):
            check((study / "plots" / f"{name}.svg").exists() and (study / "plots" / f"{name}.gnuplot").exists(), f"no {name}")
        setting = (study / "plots" / "setting-3-bpr_mf.gnuplot").read_text().split("<< END\n")[1].split("\nEND")[0]
        points = [line.split()[0] for line in setting.splitlines() if re.match(r"\d", line)]
        check(points == ["2", "4"], f"trials that are equal but for augment.per_user: {setting}")
        check("bpr_mf: the gain by augment.per_user," in page, "a caption names the setting")
        check(not list(study.glob("plots/*.messages")) and not list(study.glob("plots/*.part")), "what gnuplot leaves")
        check(page.count("<svg") == len(list(study.glob("plots/*.svg"))), "every plot is on the page")
    else:
        check("gnuplot is not installed" in text, "that plots are left out is told")


def section_of(text, heading, level=2):
    """What stands below a heading, up to the next of its level."""
    mark = "#" * level
    return re.split(rf"\n#{{1,{level}}} ", text.split(f"\n{mark} {heading}\n")[1])[0]


def test_verdict(study, results):
    """Controls by their names, the strongest in the table of gains, what was adopted, and gains over a broken original arm."""
    text = (study / "report.md").read_text()
    verdict, gains = section_of(text, "Verdict"), section_of(text, "Gains")
    own = json.loads((study / "trials" / "chosen" / "results.json").read_text())["selection"]
    leading = {(one["trial"], one["recommender"], one["arm"], one["against"], one["against_trial"]): one
               for one in results["comparisons"] if one["metric"] == "recall@10"}
    check("every control (random, popularity)" in verdict, f"the controls' names: {verdict[:1500]}")
    warned = 0
    for recommender in ("bpr_mf", "item_knn"):
        part, table = section_of(verdict, recommender, 3), section_of(gains, recommender, 3)
        lines = {line.split("**")[1]: line for line in part.splitlines() if line.startswith("- **")}
        for control in ("random", "popularity"):
            for trial in [trial["trial"] for trial in results["trials"]]:
                one = leading.get((trial, recommender, "augmented", f"control.{control}", trial))
                if one is None or one["ci95"] is None:
                    continue
                head = ("Better by the interval alone:" if one["ci95"][0] > 0 else
                        "Worse than the control by the interval alone:" if one["ci95"][1] < 0 else
                        "A control is AHEAD, but no difference was shown:" if one["difference"] < 0 else
                        "No difference was shown, and the control is not ahead:")
                named = [place for place in part.split("against the controls")[1].splitlines() if place.startswith(f"- **{head}")]
                listed = re.search(rf"{control}: ([^;]*)", named[0] if named else "")
                check(listed and (f"{trial} ({100 * one['relative_gain']:+.2f} %)" in listed[1] or " more" in listed[1]),
                      f"{trial} against {control}: {head} {named}")
        for trial in [trial["trial"] for trial in results["trials"]]:
            against = [leading[key] for key in leading if key[:3] == (trial, recommender, "augmented") and "control" in key[3]]
            if not against:
                continue
            strongest = max(against, key=lambda one: one["against_mean"])
            row = next(line for line in table.splitlines() if re.match(rf"\| {trial}( \(reference\))? \|", line))
            cells = [cell.strip() for cell in row.split("|")[1:-1]]
            check(cells[6] == strongest["against"].removeprefix("control.") and
                  cells[7] == f"{100 * strongest['relative_gain']:+.2f} %", f"the strongest control: {row}")
        against = part.split("against that of the reference trial, full:")[1:]
        for arm, told in zip(("augmented", "original"), against, strict=True):
            for trial in RULES:
                one = leading.get((trial, recommender, arm, arm, "full"))
                if one is None:  # the original arm is the reference's
                    check((trial, recommender, arm) == ("on-test", "item_knn", "original"), f"{trial}, {arm}: not compared")
                    continue
                mark = RULES[trial] if one["ci95"] is None else f"{100 * one['relative_gain']:+.2f} %; {RULES[trial]}"
                check(f"{trial} ({mark})" in told, f"{trial}, {arm}: other rules are not told: {told}")
            check(not re.search(r"wide-100 \([^)]*(epochs on test|train)", told), f"no other rules: {told}")
        chosen = next(one["chosen"] for one in own if one["recommender"] == recommender)
        if chosen == "none":
            check("chosen" in lines.get("Nothing was adopted on validation, so that augmented equals original:", ""), f"{lines}")
        else:
            check(f"chosen (" in part and f"; {chosen} adopted)" in part, f"{chosen} was adopted: {part}")
        for trial in [trial["trial"] for trial in results["trials"]]:
            gain = leading.get((trial, recommender, "augmented", "original", trial))
            original = leading.get((trial, recommender, "original", "original", "full"))
            broken = bool(gain and original and original["ci95"] and original["ci95"][1] < 0 and gain["relative_gain"] > 0)
            found = re.search(rf"[ ,]{trial} \([^)]*WARNING: its original arm is worse by the interval alone", part)
            check(bool(found) == broken, f"{trial}, {recommender}: warned {found}, broken {broken}: {part}")
            warned += broken
    check(warned > 0, "no original arm is broken: nothing is tested")
    sizes = {family["name"]: family["size"] for family in results["families"]}
    check(f"p of the gain for {sizes['recall@10, original']} of recall@10 with original arms; from a control for "
          f"{sizes['recall@10, controls']} with controls." in gains and
          f"p is corrected for the {sizes['recall@10, reference']} comparisons of recall@10 with the reference" in gains,
          "the families' sizes stand at the tables")
    check("controls-bpr_mf.tex" in {path.name for path in study.glob("tables/*.tex")}, "the strongest controls as LaTeX")


def test_trial_report(study):
    """Which trial it is, what it sets, where the study's verdict is; and the study leads to it."""
    text = (study / "trials" / "wide-100" / "report.md").read_text()
    check(text.startswith("# study: trial wide-100\n"), f"title: {text[:60]}")
    check("This is the trial wide-100 of the study study." in text and "| recommenders[0].width | 12 | 8 |" in text,
          "what the trial sets")
    check("the study's verdict stands" in section_of(text, "Verdict"), "whose verdict stands")
    whole = (study / "report.md").read_text()
    check("- [wide-100](trials/wide-100/report.md) recommenders[0].width 12\n" in whole, "the study leads to its trials")
    ran = section_of(whole, "What was run")
    check("| recommenders[0].width | 12; elsewhere 8 |" in ran and "| seeds an arm | 3; 2 in five-seeds |" in ran and
          "| seed | 7; elsewhere 1 |" in ran, f"what was run: {ran}")


def test_originals(folder):
    """A study of original arms alone is one of its trials against the reference, and has nothing to say of synthetic rows."""
    (folder / "originals.yaml").write_text(ORIGINALS)
    result = idrec(folder, "run", "originals.yaml", "output=originals")
    check(result.returncode == 0, f"original arms alone: {result.stderr[-800:]}")
    check("plain, again: equal configurations" in result.stderr, f"equal trials: {result.stderr}")
    text = (folder / "originals" / "report.md").read_text()
    results = json.loads((folder / "originals" / "results.json").read_text())
    for phrase in ("of 0 cases", "\n## Groups and popularity\n", "\n## Cost\n", "\n## Gains\n", "synthetic rows are"):
        check(phrase not in text, f"original arms alone: {phrase!r}")
    main_part = section_of(text, "Against the reference")
    one = next(one for one in results["comparisons"] if (one["trial"], one["recommender"], one["metric"]) ==
               ("wide", "bpr_mf", "recall@10"))
    row = next(line for line in main_part.splitlines() if line.startswith("| wide |"))
    check(f"{100 * one['relative_gain']:+.2f} %" in row, f"the trial against the reference: {row}")
    check("the original arm is clearly better in" in section_of(text, "Verdict"), "the verdict on original arms")
    check({family["question"] for family in results["families"]} == {"reference"}, f"families: {results['families']}")
    clear = sum(one["metric"] == "recall@10" and one.get("rules") is not None and one["p_holm"] is not None and
                one["p_holm"] < 0.05 and not one["ci95"][0] <= 0 <= one["ci95"][1] for one in results["comparisons"])
    warning = f"WARNING: {clear} of these have another protocol, mask or train part than the reference"
    check(clear > 0 and warning in section_of(text, "Verdict"), f"{clear} clear differences of other rules are not told: {text[:1500]}")


# ---- damage -------------------------------------------------------------------------------------------------


def with_other_lists(text):
    """The best item of each user becomes his last: the size stays."""
    users = {}
    for line in text.splitlines():
        users.setdefault(line.split("\t")[0], []).append(line.split("\t"))
    for lines in users.values():
        lines[0][1], lines[-1][1] = lines[-1][1], lines[0][1]
    return "".join("\t".join(line) + "\n" for lines in users.values() for line in lines)


def test_damage(folder):
    """The report has what it can; the study fails, names the file, and makes it anew once it is deleted."""
    study = folder / "originals"
    whole = (study / "results.json").read_bytes()
    fit = study / "trials" / "wide" / "recommenders" / "bpr_mf" / "original" / "seed-2"
    lists, expected = fit / "top_k.tsv", (fit / "top_k.tsv").read_text()

    def damaged(words, reasons):
        (study / "report.md").unlink()
        result = idrec(folder, "run", "originals.yaml", "output=originals")
        check(result.returncode == 1 and all(word in result.stderr for word in words), f"{words}: {result.stderr[-1500:]}")
        check("report:" in result.stdout, f"{words}: what is known is printed: {result.stdout}")
        results = json.loads((study / "results.json").read_text())
        warned = "WARNING: files of 1 case are missing" in (study / "report.md").read_text()
        check(warned == any(one.get("failed") for one in results["not_compared"]), f"{words}: the verdict's warning")
        found = {(one["trial"], one["recommender"]) for one in results["not_compared"] if one["trial"] != "few"}
        check(found == reasons and all(f"| {one} | {other} |" in (study / "report.md").read_text() for one, other in reasons),
              f"{words}: not compared: {found}")
        return results

    def mended(what):
        result = idrec(folder, "run", "originals.yaml", "output=originals")
        check(result.returncode == 0 and (study / "results.json").read_bytes() == whole, f"{what}: {result.stderr[-500:]}")
        check(lists.read_text() == expected, f"{what}: the lists are as they were")

    lists.write_text(with_other_lists(expected))
    results = damaged([str(lists.relative_to(folder)), "metrics.json says", "delete it", "wide"], {("wide", "bpr_mf")})
    before = json.loads(whole)
    others = [[{key: value for key, value in one.items() if key not in FAMILY} for one in each["comparisons"]
               if (one["trial"], one["recommender"]) != ("wide", "bpr_mf")] for each in (before, results)]
    check(others[0] == others[1] and len(others[0]) == len(results["comparisons"]) > 0 and
          results["trials"] == before["trials"], "the others are reported")
    lists.unlink()
    mended("lists that are deleted")
    lists.write_text(expected[:-40])
    mended("lists that are cut short")
    lists.write_text(with_other_lists(expected))
    shutil.rmtree(fit)
    mended("a fit whose copy in shared/ is damaged")
    own = study / "trials" / "wide" / "results.json"
    own.write_text("x" + own.read_text()[1:])
    results = damaged([str(own.relative_to(folder)), "delete it"], set())
    check([trial["trial"] for trial in results["trials"] if trial["state"] == "failed"] == ["wide"], "a trial without results")
    own.unlink()
    mended("the results of a trial")
    reference = study / "trials" / "plain" / "recommenders" / "bpr_mf" / "original" / "seed-1" / "top_k.tsv"
    text = reference.read_text()
    reference.unlink()  # it is a link to other trials' lists
    reference.write_text(with_other_lists(text))
    damaged([str(reference.relative_to(folder))], {(name, "bpr_mf") for name in ("plain", "wide", "again", "noise")})
    reference.unlink()
    mended("the lists of the reference")


def test_refusals(folder):
    for value, reason in (("nobody", "is no trial of the study"), ("[full]", "")):
        result = idrec(folder, "run", "study.yaml", "output=refused", f"experiment.reference={value}")
        check(result.returncode == 2 and reason in result.stderr, f"reference {value}: {result.stderr}")
    result = idrec(folder, "run", "base.yaml", "output=refused", "experiment.reference=full")
    check(result.returncode == 2 and "experiment.reference" in result.stderr, f"no study: {result.stderr}")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        truth = make_data(folder, random.Random(5))
        add_noise(folder, random.Random(1))
        (folder / "study.yaml").write_text(STUDY)
        result = idrec(folder, "run", "study.yaml", "output=one")
        check(result.returncode == 1 and "1 of 13 trials failed" in result.stderr, f"the study: {result.stderr[-800:]}")
        check("four-rows" in result.stdout, "the table of gains is printed")
        widest = max(len(line) for line in result.stdout.splitlines())
        check(widest <= 120 and "validation" not in result.stdout, f"the end on a terminal: {widest} columns")
        check("warning" not in result.stderr and "gnuplot" not in result.stderr, f"what gnuplot says: {result.stderr}")
        study = folder / "one"
        results = json.loads((study / "results.json").read_text())
        test_against_reference(study, results, truth)
        test_own(study, results)
        test_families(study, results, folder)
        test_reasons(results)
        test_csv(study, results)
        test_latex(study, folder)
        test_report(study, results)
        test_verdict(study, results)
        test_trial_report(study)
        test_originals(folder)
        test_damage(folder)
        test_refusals(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
