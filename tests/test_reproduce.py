"""Recipes of published figures: one that is reached, one that is missed, what is refused before anything runs, and the table
of the recipes that are checked in. What `idrec export` writes."""

import json
import pathlib
import subprocess
import sys
import tempfile

from checking import SOURCE, check, check_refusal, idrec, status, synthesize

CONFIG = """\
name: {name}
data: {{path: data.inter}}
recommenders: [{{model: popularity}}, {{model: bpr_mf, width: 8, epochs: 6}}]
experiment: {{seeds: 2, arms: [original]}}
evaluate: {{k: [10]}}
"""
RECIPE = """\
recipe:
  recommender: {recommender}
  expected:
  - {{metric: ndcg@10, value: {value}, tolerance: 0.05}}
  source: a table of ours
  published_protocol: the same
"""


def write(folder, name, value="0.5", recommender="popularity", tail=""):
    path = folder / f"{name}.yaml"
    path.write_text(CONFIG.format(name=name) + RECIPE.format(value=value, recommender=recommender) + tail)
    return path.name


def reached_value(folder):
    """What popularity reaches on the data: the runs of a recipe tell."""
    record = json.loads((folder / "runs" / "missed" / "reproduction.json").read_text())
    return record["figures"][0]["reached"]


def test_missed(folder):
    result = idrec(folder, "reproduce", write(folder, "missed", value="0.99"))
    check(result.returncode == 1, f"missed: status {result.returncode}: {result.stderr[-300:]}")
    check("missed (tolerance 5 %)" in result.stdout and "a table of ours" in result.stdout, f"missed: {result.stdout}")
    check("1 of the published figures" in result.stderr, f"missed: {result.stderr[-300:]}")
    record = json.loads((folder / "runs" / "missed" / "reproduction.json").read_text())
    results = json.loads((folder / "runs" / "missed" / "results.json").read_text())
    runs = [run["metrics"]["ndcg@10"] for run in results["runs"] if run["recommender"] == "popularity"]
    figure = record["figures"][0]
    check(len(runs) == 2 and abs(figure["reached"] - sum(runs) / 2) < 1e-12, f"the mean over the seeds: {figure}, {runs}")
    check(abs(figure["difference"] - (figure["reached"] / 0.99 - 1)) < 1e-12, f"difference: {figure}")
    check(not record["reached"] and record["seeds"] == 2 and record["overrides"] == [], f"record: {record}")
    check(not (folder / "runs" / "missed" / "generated.h5").exists(), "the language model is left out")


def test_reached(folder):
    value = reached_value(folder)
    names = [write(folder, "reached", value=f"{value * 1.04:.6f}"), write(folder, "exceeded", value=f"{value * 0.9:.6f}")]
    (folder / "plain.yaml").write_text(CONFIG.format(name="plain"))
    result = idrec(folder, "reproduce", "plain.yaml", *names)
    check("plain.yaml: skipped" in result.stderr and not (folder / "runs" / "plain").exists(), f"skipped: {result.stderr}")
    check(result.returncode == 0, f"reached: status {result.returncode}: {result.stderr[-300:]}")
    check("reached (tolerance 5 %)" in result.stdout and "exceeded (tolerance 5 %)" in result.stdout, f"reached: {result.stdout}")
    again = idrec(folder, "reproduce", *names, "--json")
    check("prepare: up to date" in again.stderr and "train: up to date" in again.stderr, f"resumed: {again.stderr}")
    records = json.loads(again.stdout)
    check([record["figures"][0]["state"] for record in records] == ["reached", "exceeded"], f"--json: {records}")
    shorter = idrec(folder, "reproduce", names[0], "recommenders[1].epochs=2")
    check(shorter.returncode == 0 and "recommenders[1].epochs=2" in shorter.stdout, f"overridden: {shorter.stdout}")


def test_refusals(folder):
    check_refusal(idrec(folder, "reproduce"), 2, "--list")
    check_refusal(idrec(folder, "reproduce", "none.yaml"), 2, "none.yaml")
    (folder / "plain.yaml").write_text(CONFIG.format(name="plain"))
    check_refusal(idrec(folder, "reproduce", "plain.yaml"), 2, "plain.yaml", "recipe")
    check_refusal(idrec(folder, "reproduce", "plain.yaml", "plain.yaml"), 2, "none of the files")
    metric = write(folder, "metric")
    (folder / metric).write_text((folder / metric).read_text().replace("ndcg@10", "ndcg@20"))
    check_refusal(idrec(folder, "reproduce", metric), 2, "metric.yaml:9:", "ndcg@20", "evaluate.k")
    check_refusal(idrec(folder, "run", metric), 2, "metric.yaml:9:")
    check_refusal(idrec(folder, "reproduce", write(folder, "name", recommender="lightgcn")), 2, "name.yaml:7:", "lightgcn")
    check_refusal(idrec(folder, "reproduce", write(folder, "several", recommender="null")), 2, "several.yaml:7:", "2 recommenders")
    check_refusal(idrec(folder, "reproduce", write(folder, "value", value="null")), 2, "value.yaml:9:", "value")
    first, second = write(folder, "first"), write(folder, "second")
    check_refusal(idrec(folder, "reproduce", first, second, "output=both"), 2, "same folder")
    check(not (folder / "both").exists() and not (folder / "runs" / "first").exists(), "nothing ran before the refusal")
    check_refusal(idrec(folder, "reproduce", "--list", "nowhere=1"), 2, "--list")


def test_list(folder):
    listed = json.loads(idrec(folder, "reproduce", "--list", "--json", SOURCE / "configs" / "recommenders").stdout)
    check(len(listed) >= 1, f"recipes: {listed}")
    names = [record["name"] for record in listed]
    check(len(set(names)) == len(names), f"two recipes share a folder: {names}")
    for record in listed:
        name = record["name"]
        check(record["source"] and record["published_protocol"], f"{name} says who published what")
        resolved = idrec(folder, "config", record["recipe"]).stdout
        check("\n  arms: [original]\n" in resolved, f"{name} trains on nothing but the original data")
    markdown = idrec(SOURCE, "reproduce", "--list", "--markdown").stdout
    check(markdown.strip() in (SOURCE / "docs" / "reproduction.md").read_text(),
          "the table in docs/reproduction.md is that of `idrec reproduce --list --markdown`")


def values(path, name):
    """What a data set holds, as h5dump prints it."""
    text = subprocess.run(["h5dump", "-d", name, "-y", "-w", "0", "-m", "%.9g", path], capture_output=True, text=True,
                          check=True).stdout
    body = text[text.index("DATA {"):]
    return body[body.index("{") + 1:body.index("}")].replace(",", " ").split()


def dump(path, name):
    return [float(value) for value in values(path, name)]


def ids(path, name):
    return [value.strip('"').replace("\\000", "") for value in values(path, name)]


MODELS = """recommenders=[{model: popularity}, {model: bpr_mf, width: 8, epochs: 2}, {model: als, width: 8},
 {model: sasrec, width: 8, epochs: 2, length: 20}, {model: bert4rec, width: 8, epochs: 2, length: 20}]"""


def check_vectors(output, lists):
    """Scores are inner products of the vectors, and `recommend` lists the best of those that are not known."""
    items = len(ids(output, "/items/id"))
    user_vectors, item_vectors = dump(output, "/users/embedding"), dump(output, "/items/embedding")
    width = len(item_vectors) // items
    products = [sum(user_vectors[width * u + i] * item_vectors[width * item + i] for i in range(width))
                for u in range(2) for item in range(items)]
    scores = dump(output, "/scores")
    check(len(scores) == 2 * items and max(abs(a - b) for a, b in zip(scores, products)) < 1e-5,
          f"the scores are the inner products: {lists}")
    starts, known = dump(output, "/known/indptr"), dump(output, "/known/indices")
    check(ids(output, "/users/id") == ["u7", "u3"], "the users are those that were asked for, in their order")
    for u, line in enumerate(lists[:2]):
        seen = set(known[int(starts[u]):int(starts[u + 1])])
        best = max(scores[u * items + item] for item in range(items) if item not in seen)
        check(line.startswith(("u7", "u3")[u]) and abs(float(line.split("\t")[3]) - best) < 1e-6, f"the best of {line}")


def test_export(folder):
    trained = idrec(folder, "run", "missed.yaml", "output=export", "recipe={}", "experiment.seeds=1", MODELS)
    check(trained.returncode == 0, f"models to export: {trained.stderr[-300:]}")
    users, output = folder / "users.txt", folder / "export.h5"
    users.write_text("u7\nu3\n")
    for name in ("bpr_mf", "als", "sasrec", "bert4rec", "popularity"):
        result = idrec(folder, "export", "export", f"--recommender={name}", f"--output={output}", f"--users={users}", "--scores")
        check(result.returncode == 0, f"export of {name}: {result.stderr}")
        check(not pathlib.Path(f"{output}.tmp").exists(), "nothing is left beside the export")
        if name != "popularity":
            check_vectors(output, idrec(folder, "recommend", "export", f"--recommender={name}", f"--users={users}",
                                        "--k=1").stdout.split("\n"))
    output.unlink()
    check_refusal(idrec(folder, "export", "export", "--recommender=popularity", f"--output={output}"), 2, "popularity", "--scores")
    check_refusal(idrec(folder, "export", "export", f"--output={output}"), 2, "--recommender")
    check_refusal(idrec(folder, "export", "export", "--recommender=bpr_mf"), 2, "--output")
    check(not output.exists(), "nothing is written where nothing can be exported")
    lost = idrec(folder, "export", "export", "--recommender=bpr_mf", "--output=no/where.h5")
    check(lost.returncode == 1 and "no/where.h5" in lost.stderr, f"no folder: {lost.stderr}")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        synthesize(folder / "data.inter", "--users=60", "--items=40", "--interactions=10")
        test_missed(folder)
        test_reached(folder)
        test_refusals(folder)
        test_list(folder)
        test_export(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
