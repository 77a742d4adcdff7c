"""Bad input of every kind ends in one line on stderr that says where and what, the promised status, and no crash; what was
finished before stays as it was."""

import gzip
import hashlib
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from checking import IDREC

FAILED, USAGE = 1, 2

GOOD_DATA = "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(
    f"u{user}\ti{(user * 7 + step * (1 + user % 3)) % 40}\t{step}\n" for user in range(30) for step in range(12))
GOOD_CONFIG = """\
name: bad
data:
  path: data.inter
language_model: {layers: 1, width: 16, heads: 2}
pretrain: {epochs: 1}
finetune: {epochs: 1}
generate: {contexts: 1, max_items: 5}
recommenders:
- {model: bpr_mf, width: 8, epochs: 2}
experiment: {seeds: 2}
"""


class Bench:
    """A scratch folder with a good config and data set, and the checks every refusal must pass."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.cases = 0
        self.failures = []

    def fresh(self, config=GOOD_CONFIG, data=GOOD_DATA):
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        (self.folder / "bad.yaml").write_bytes(config if isinstance(config, bytes) else config.encode())
        if data is not None:
            (self.folder / "data.inter").write_bytes(data if isinstance(data, bytes) else data.encode())

    def run(self, *arguments, before=""):
        words = " ".join(f"'{word}'" for word in (IDREC, *map(str, arguments)))
        return subprocess.run(["bash", "-c", f"{before} exec {words}"], cwd=self.folder, capture_output=True, text=True,
                              timeout=120, errors="replace")

    def refuse(self, name, result, status, *patterns):
        self.cases += 1
        lines = [line for line in result.stderr.splitlines() if line.startswith("idrec: ")]
        problems = []
        if result.returncode != status:
            problems.append(f"status {result.returncode}, expected {status}")
        if len(lines) != 1:
            problems.append(f"{len(lines)} error lines")
        for pattern in patterns:
            if not any(re.search(pattern, line) for line in lines):
                problems.append(f"no /{pattern}/")
        if problems:
            self.failures.append(f"{name}: {'; '.join(problems)}\n    {result.stderr.strip()[-400:]}")

    def expect(self, name, condition, result):
        self.cases += 1
        if not condition:
            self.failures.append(f"{name}: status {result.returncode}: {result.stderr.strip()[-600:]}")

    def results(self, name, result):
        if result.returncode != 0:
            sys.exit(f"{name}: {result.stderr[-1000:]}")
        return json.loads((self.folder / "out" / "results.json").read_text())

    def config_case(self, name, config, *patterns, status=USAGE, command="prepare", overrides=()):
        self.fresh(config=config)
        self.refuse(name, self.run(command, "bad.yaml", "output=out", *overrides), status, *patterns)

    def data_case(self, name, data, *patterns, status=FAILED, overrides=()):
        self.fresh(data=data)
        self.refuse(name, self.run("prepare", "bad.yaml", "output=out", *overrides), status, *patterns)


def usage_cases(bench):
    bench.fresh()
    bench.refuse("unknown command", bench.run("prepair"), USAGE, "prepair", "prepare")
    bench.refuse("no config", bench.run("run"), USAGE, "config|CONFIG")
    bench.refuse("missing config", bench.run("run", "none.yaml"), USAGE, r"none\.yaml")
    bench.refuse("config is a folder", bench.run("run", "."), USAGE, "directory")
    bench.refuse("unknown option", bench.run("run", "bad.yaml", "--speed"), USAGE, "speed")
    bench.refuse("info of nothing", bench.run("info", "none.h5"), FAILED, r"none\.h5")
    bench.refuse("recommend from nothing", bench.run("recommend", "none", "--recommender", "bpr_mf"), FAILED, "none")
    bench.refuse("report of an empty run", bench.run("report", "bad.yaml", "output=fresh"), FAILED, "evaluate|results")


def config_cases(bench):
    def replaced(old, new):
        assert old in GOOD_CONFIG
        return GOOD_CONFIG.replace(old, new)

    case = bench.config_case
    case("unknown key", GOOD_CONFIG + "pretrian: {epochs: 1}\n", r"bad\.yaml:11:", "pretrian", "pretrain")
    case("unknown nested key", replaced("layers: 1", "layer: 1"), r"bad\.yaml:4:", "layers")
    case("wrong type", replaced("epochs: 1}", "epochs: many}"), r"bad\.yaml:5:", "epochs")
    case("out of range", replaced("width: 16", "width: -16"), r"bad\.yaml:4:", "width")
    case("not a choice", GOOD_CONFIG + "device: tpu\n", r"bad\.yaml:11:", "cpu")
    case("mapping expected", GOOD_CONFIG + "evaluate: 3\n", r"bad\.yaml:11:", "evaluate")
    case("key twice", GOOD_CONFIG + "name: again\n", r"bad\.yaml:11:", "name")
    case("bad YAML", GOOD_CONFIG + "evaluate: {k: [10, 20\n", r"bad\.yaml:1[0-9]:")
    case("tab as indent", GOOD_CONFIG + "evaluate:\n\tk: 3\n", r"bad\.yaml:12:")
    case("two documents", GOOD_CONFIG + "---\nname: b\n", r"bad\.yaml")
    case("empty file", "", r"bad\.yaml")
    case("not text", bytes(range(256)), r"bad\.yaml")
    case("extends nothing", "extends: none.yaml\n" + GOOD_CONFIG, r"none\.yaml")
    case("extends itself", "extends: bad.yaml\n" + GOOD_CONFIG, "extends")
    case("alias bomb", "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")), r"bad\.yaml")
    case("nan", replaced("epochs: 1}", "learning_rate: .nan}"), "learning_rate")
    case("unknown model", replaced("bpr_mf", "bpr_fm"), r"bad\.yaml:9:", "bpr_mf")
    case("a view of another model", replaced("model: bpr_mf", "model: sgl, view: crop"), r"bad\.yaml:9:", "edge_drop")
    case("a layer that is not there", replaced("model: bpr_mf", "model: ncl, contrast_layer: 9"), r"bad\.yaml:9:", "layers")
    case("heads of a recommender", replaced("model: bpr_mf", "model: sasrec, heads: 3"), r"bad\.yaml:9:", "divide width")
    case("no neighbours", GOOD_CONFIG, r"recommenders\[0\]", "at least 1",
         overrides=["recommenders=[{model: item_knn, neighbors: 0}]"])
    case("settings of other models", replaced("model: bpr_mf", "model: sasrec, mask_share: 0.5"), r"bad\.yaml:9:",
         "sasrec does not read mask_share; it reads width, layers")
    case("a setting at its default, of other models", GOOD_CONFIG, r"command line: recommenders\[0\]\.layers",
         "ease does not read layers; it reads regularization$", overrides=["recommenders=[{model: ease, layers: 3}]"])
    case("settings of a model that has none", GOOD_CONFIG, "popularity does not read width; it reads no setting",
         overrides=["recommenders=[{model: popularity, width: 8}]"])
    case("bad override", GOOD_CONFIG, "pretrain.epoch", "epochs", overrides=["pretrain.epoch=3"])
    case("override without value", GOOD_CONFIG, "pretrain.epochs", overrides=["pretrain.epochs"])
    case("override out of the list", GOOD_CONFIG, r"recommenders\[7\]", overrides=["recommenders[7].epochs=3"])
    case("no data path", "name: bad\n", r"data\.path")
    case("ratios beyond one", GOOD_CONFIG + "", "ratios", overrides=["data.split.ratios=[0.9, 0.9, 0.1]"])
    case("no validation", GOOD_CONFIG, "ratios", "validation", overrides=["data.split.ratios=[0.8, 0, 0.2]"])
    case("no validation to choose on", GOOD_CONFIG, "augment.select", "fixed", overrides=[
        "evaluate.protocol=test_selected", "data.split={method: provided, train: data.inter, test: data.inter}"])
    fusion = "experiment.arms=[original, control.fusion]"
    case("no validation to weigh on", GOOD_CONFIG, r"experiment\.fusion\.weights", "give one", overrides=[
        fusion, "augment.select=fixed", "augment.ensemble=[]", "evaluate.protocol=test_selected",
        "data.split={method: provided, train: data.inter, test: data.inter}"])
    case("no validation to choose lists on", GOOD_CONFIG, r"augment\.ensemble_select", "set it to all", overrides=[
        "augment.select=fixed", "evaluate.protocol=test_selected",
        "data.split={method: provided, train: data.inter, test: data.inter}"])
    case("no weights", GOOD_CONFIG, r"experiment\.fusion\.weights", "1 to 16 weights",
         overrides=[fusion, "experiment.fusion.weights=[]"])
    case("a weight beyond one", GOOD_CONFIG, r"experiment\.fusion\.weights\[1\]",
         overrides=[fusion, "experiment.fusion.weights=[0.5, 1.5]"])
    case("a fusion that ends before the cut", GOOD_CONFIG, r"experiment\.fusion\.depth", "lists are cut at 20",
         overrides=[fusion, "experiment.fusion.depth=19"])
    for arm in ("control.generator", "control.fusion"):
        case(f"{arm} is not tuned", GOOD_CONFIG, r"tune\.arms", arm, overrides=[f"experiment.arms=[original, {arm}]",
                                                                             f"tune.arms=[original, {arm}]"])
    case("heads do not divide", GOOD_CONFIG, "heads|width", command="pretrain", overrides=["language_model.heads=3"])
    case("pretrained text model", GOOD_CONFIG, "text", overrides=["language_model.vocabulary=text"])
    text = "language_model={vocabulary: text, %s: nowhere%s}"
    case("no such checkpoint", GOOD_CONFIG, "command line: language_model.checkpoint", "nowhere/config.json is not there",
         overrides=[text % ("checkpoint", ", dropout: 0"), "pretrain.enabled=false"])
    case("no such tokenizer", GOOD_CONFIG, "command line: language_model.tokenizer", "nowhere is not there",
         overrides=[text % ("tokenizer", ", positions: true")])
    case("no such split file", GOOD_CONFIG, r"none\.txt", status=FAILED,
         overrides=["data.split={method: provided, train: none.txt, test: none.txt}"])


def device_cases(bench):
    for device in ("cuda:x", "cuda:-1", "cuda:99999", "CUDA", "gpu"):
        bench.config_case(f"device {device}", GOOD_CONFIG, "device", r"auto\|cpu\|cuda\|cuda:N", overrides=[f"device={device}"])
    bench.fresh()
    automatic = bench.run("prepare", "bad.yaml", "output=out", "device=auto", before="export CUDA_VISIBLE_DEVICES=;")
    bench.expect("device auto without a GPU is a statement", automatic.returncode == 0 and "device: cpu" in automatic.stderr
                 and "set device: cpu" not in automatic.stderr, automatic)
    for command in ("prepare", "train", "run"):
        bench.fresh()
        result = bench.run(command, "bad.yaml", "output=out", "device=cuda", before="export CUDA_VISIBLE_DEVICES=;")
        bench.refuse(f"{command} on cuda without a GPU", result, FAILED, "device cuda: .*(without CUDA|driver|GPU)", "device: cpu")
        if (bench.folder / "out").exists():
            bench.failures.append(f"{command} on cuda without a GPU left a folder")


def data_cases(bench):
    case = bench.data_case
    case("missing data", None, r"data\.inter", overrides=[])
    case("empty data", "", r"data\.inter")
    case("header only", "user_id:token\titem_id:token\n", r"data\.inter")
    case("no item column", "user_id:token\trating:float\n1\t2\n", r"data\.inter:1:", "item_id")
    case("short row", GOOD_DATA + "u1\n", r"data\.inter:362:")
    case("rating is a word", "user_id:token\titem_id:token\trating:float\nu\ti\tgood\n", r"data\.inter:2:", "good")
    case("empty id", "user_id:token\titem_id:token\n\ti1\n", r"data\.inter:2:")
    case("truncated gzip", gzip.compress(GOOD_DATA.encode())[:-20], r"data\.inter")
    case("binary", bytes(range(256)) * 8, r"data\.inter")
    case("nothing survives the core", GOOD_DATA, "k_core|k-core", overrides=["data.k_core=1000"])
    case("temporal without times", "user_id:token\titem_id:token\n" + "".join(f"{u}\t{i}\n" for u in range(9) for i in range(9)),
         "time", overrides=["data.split.method=temporal"])
    case("column not there", "a,b\n1,2\n", "column|columns", overrides=["data.format=csv", "data.columns.user=userid"])
    case("wrong format named", GOOD_DATA, r"data\.inter:1:", overrides=["data.format=movielens"])


def finished(bench):
    """Runs the good config whole; returns the hashes of what it left."""
    bench.fresh()
    result = bench.run("run", "bad.yaml", "output=out")
    if result.returncode != 0:
        sys.exit(f"the good config fails: {result.stderr[-1000:]}")
    return contents(bench)


def contents(bench):
    return {path.relative_to(bench.folder): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((bench.folder / "out").rglob("*")) if path.is_file() and path.suffix in {".h5", ".safetensors"}}


def catalogue_cases(bench):
    """A cut or a list longer than the catalogue."""
    bench.config_case("cut above the catalogue", GOOD_CONFIG, r"evaluate\.k\[1\]", "50", "40 items",
                      overrides=["evaluate.k=[10, 50]"])
    bench.config_case("selection above the catalogue", GOOD_CONFIG, r"augment\.select_k", "40 items",
                      overrides=["augment.select_k=41"])
    finished(bench)
    late = bench.run("train", "bad.yaml", "output=out", "evaluate.k=[10, 50]")
    bench.refuse("cut above the catalogue, after prepare", late, USAGE, r"evaluate\.k\[1\]")
    ask = ("recommend", "out", "--recommender=bpr_mf")
    bench.refuse("K above the catalogue", bench.run(*ask, "--k=5000"), USAGE, "K is 5000", "40 items", "lower --k")
    bench.refuse("no such recommender", bench.run(*ask[:2], "--recommender=lightgcn"), USAGE, "lightgcn", "there are: bpr_mf")
    bench.refuse("no such arm", bench.run(*ask, "--arm=control.none"), USAGE, "control.none", "original")
    bench.refuse("no such seed", bench.run(*ask, "--seed=9"), USAGE, "seed 9", r"\[1, 2\]")
    everything = bench.run(*ask, "--k=40")
    bench.expect("lists shorter than K", everything.returncode == 0 and "30 of 30 users have fewer than 40" in everything.stderr
                 and len(everything.stdout.splitlines()) < 30 * 40, everything)


def order_cases(bench):
    """What a sequential model learns from without times, or with a split that ignores them."""
    untimed = "user_id:token\titem_id:token\n" + "".join(f"u{u}\ti{(u + i) % 12}\n" for u in range(20) for i in range(9))
    for model, data, method, untold, mixed in (("sasrec", untimed, "leave_one_out", True, False),
                                               ("sasrec", GOOD_DATA, "random", False, True),
                                               ("bpr_mf", untimed, "random", False, False)):
        bench.fresh(data=data)
        result = bench.run("prepare", "bad.yaml", "output=out", "evaluate.k=[5]", "augment.select_k=5", f"data.split.method={method}",
                           f"recommenders=[{{model: {model}}}]")
        bench.expect(f"order of {model}, {method}", result.returncode == 0
                     and ("the file has no times: the order of its rows" in result.stderr) == untold
                     and ("random mixes past and future for sequential models" in result.stderr) == mixed, result)


def sparse_cases(bench):
    """Users and items with too little to train on or to be tested by: kept, counted and said."""
    lonely = GOOD_DATA + "".join(f"lonely{user}\ti{user}\t0\n" for user in range(3))
    for method in ("leave_one_out", "random"):
        bench.fresh(data=lonely)
        result = bench.run("run", "bad.yaml", "output=out", f"data.split.method={method}", "experiment.arms=[original]")
        results = bench.results(f"one interaction, {method}", result)
        bench.expect(f"one interaction, {method}", "not tested: 3 users" in result.stderr, result)
        bench.expect(f"one interaction, {method}: kept", results["dataset"]["users"] == 33
                     and results["dataset"]["test_users"] == 30, result)
        asked = bench.run("recommend", "out", "--recommender=bpr_mf", "--k=5")
        bench.expect(f"one interaction, {method}: recommended to", asked.stdout.count("lonely1\t") == 5, asked)

    bench.fresh()
    (bench.folder / "test.inter").write_text(GOOD_DATA.split("\n")[0] + "\nu1\tnew1\t9\nu2\tnew2\t9\nu3\ti38\t9\nstranger\ti1\t9\n")
    models = "recommenders=[{model: popularity}, {model: item_knn}, {model: bpr_mf, width: 8, epochs: 2}, " \
             "{model: lightgcn, width: 8, epochs: 2}]"
    result = bench.run("run", "bad.yaml", "output=out", "experiment.arms=[original]", models,
                       "data={split: {method: provided, train: data.inter, test: test.inter}}")
    results = bench.results("unseen items", result)
    bench.expect("unseen items are told", "without a train row: 1 users, 2 items" in result.stderr
                 and "held-out rows of such items, which no model can learn: 0 validation, 2 test" in result.stderr, result)
    dataset = results["dataset"]
    bench.expect("unseen items in results.json", (dataset["unseen_users"], dataset["unseen_items"],
                                                  dataset["test_of_unseen_items"]) == (1, 2, 2), result)
    for model in ("popularity", "item_knn", "bpr_mf", "lightgcn"):
        lists = bench.run("recommend", "out", f"--recommender={model}", "--k=42")
        scores = [float(line.split("\t")[3]) for line in lists.stdout.splitlines()]
        bench.expect(f"unseen items are ranked by {model}, with finite scores", lists.stdout.count("\tnew1\t") == 31
                     and all(map(math.isfinite, scores)), lists)


def divergence(bench):
    """A loss that is not a number stops the fit and says what to lower; what was finished before is kept."""
    bench.fresh()
    rate = "recommenders=[{model: popularity}, {model: bpr_mf, optimizer: sgd, width: 8, epochs: 300, learning_rate: %s}]"
    command = ("run", "bad.yaml", "output=out", "experiment.arms=[original]")
    bench.refuse("a loss that is not a number", bench.run(*command, rate % 10), FAILED, "bpr_mf", "not a number", "epoch [0-9]",
                 r"lower recommenders\.learning_rate \(now 10\)")
    kept = bench.folder / "out/recommenders/popularity/original/seed-1/model.h5"
    before = kept.stat().st_mtime_ns
    again = bench.run(*command, rate % 0.01)
    bench.expect("finished fits are kept", again.returncode == 0 and kept.stat().st_mtime_ns == before, again)


def damaged_artefacts(bench):
    def truncated(path, command):
        before = finished(bench)
        target = bench.folder / "out" / path
        target.write_bytes(target.read_bytes()[:target.stat().st_size // 2])
        result = bench.run("info", f"out/{path}")
        bench.refuse(f"info of truncated {path}", result, FAILED, re.escape(target.name))
        # A damaged artefact is made again, or refused by name; other artefacts are not touched.
        again = bench.run(command, "bad.yaml", "output=out")
        bench.cases += 1
        after = contents(bench)
        if again.returncode == 0 and after != before:
            bench.failures.append(f"truncated {path}: made again, but not the same")
        if again.returncode not in (0, FAILED):
            bench.failures.append(f"truncated {path}: status {again.returncode}: {again.stderr[-300:]}")

    truncated("dataset.h5", "run")
    truncated("language_model/base/model.safetensors", "run")
    truncated("generated.h5", "run")


def hostile_machine(bench):
    if os.environ.get("IDREC_SANITIZE") == "1":
        print("the sanitizers need more address space than any limit leaves: the memory limit is not tested")
    else:
        memory_limit(bench)
    full_and_read_only_folders(bench)
    finished(bench)
    other = bench.run("run", "bad.yaml", "output=data.inter/out")
    bench.refuse("output below a file", other, FAILED, r"data\.inter")


def memory_limit(bench):
    before = finished(bench)
    limited = bench.run("pretrain", "bad.yaml", "output=out", "language_model.width=4096", "language_model.layers=24",
                        before="ulimit -v 3000000;")
    bench.refuse("memory limit", limited, FAILED, "memory", "lower")
    kept = bench.folder / "out" / "dataset.h5"
    if hashlib.sha256(kept.read_bytes()).hexdigest() != before[pathlib.Path("out/dataset.h5")]:
        bench.failures.append("memory limit: dataset.h5 changed")


def full_and_read_only_folders(bench):
    if os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0:
        for name, options, pattern in (("disk full", "size=96k", "space"), ("read-only folder", "size=4m,ro", "[Rr]ead-only")):
            bench.fresh()
            (bench.folder / "small").mkdir()
            result = subprocess.run(
                ["unshare", "-m", "bash", "-c", f"mount -t tmpfs -o {options} none small && exec '{IDREC}' run bad.yaml output=small/out"],
                cwd=bench.folder, capture_output=True, text=True, timeout=120)
            bench.refuse(name, result, FAILED, pattern)
        full_disk_at_export(bench)
    else:
        print("no right to mount: disk full and read-only folder are not tested")


def full_disk_at_export(bench):
    finished(bench)
    (bench.folder / "small").mkdir()
    export = f"'{IDREC}' export out --recommender=bpr_mf --scores --output=small/e.h5; echo $?; ls -A small"
    result = subprocess.run(["unshare", "-m", "bash", "-c", f"mount -t tmpfs -o size=96k none small && {export}"],
                            cwd=bench.folder, capture_output=True, text=True, timeout=120)
    bench.expect("disk full at export: refused before anything is computed, and nothing is left", result.stdout == "1\n"
                 and "cannot be reserved" in result.stderr and "free disk space" in result.stderr, result)


def main():
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder)
        for group in (usage_cases, config_cases, device_cases, data_cases, catalogue_cases, order_cases, sparse_cases, divergence,
                      damaged_artefacts, hostile_machine):
            group(bench)
    for failure in bench.failures:
        print(failure)
    print(f"{bench.cases} bad inputs, {len(bench.failures)} not refused as promised")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
