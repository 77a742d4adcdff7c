"""The recommender `language_model`: its lists are those of `generate`, its scores those that `idrec score` gives, its metrics
those of its lists; it has the arm original alone, is copied between seeds, and survives a kill.

Needs h5dump (Debian: hdf5-tools).
"""

import json
import math
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, SOURCE, check, lacks, status, synthesize

K = 10
CONFIG = """\
name: small
seed: 3
data: {{path: {data}, split: {split}}}
language_model: {{layers: 1, width: 16, heads: 2, positions: true, dropout: 0.1, {model}}}
prompts: {{random_cuts: 2, {prompts}}}
pretrain: {{epochs: 2, tokens_per_batch: 1024, evaluate_every: 2}}
finetune: {{rank: 2, learning_rate: 0.02}}
generate: {{method: ranking, contexts: {contexts}, max_items: 60}}
augment: {{select: fixed, use: [positives], per_user: [1]}}
recommenders: {recommenders}
experiment: {{arms: {arms}, seeds: 2}}
evaluate: {{k: [5, 10], metrics: [recall, ndcg]}}
output: {output}
"""
RANDOM = "{method: random, ratios: [0.8, 0.1, 0.1]}"


HIDDEN = "hides the order of histories"


def idrec(*arguments):
    return subprocess.run([IDREC, *map(str, arguments)], capture_output=True, text=True, timeout=600)


def write_config(folder, name, **settings):
    values = {"data": folder / "data.inter", "split": RANDOM, "model": "vocabulary: ids", "prompts": "shuffle: false",
              "contexts": 1, "recommenders": "[{model: language_model, ranked_items: 60}]", "arms": "[original]",
              "output": folder / name}
    path = folder / f"{name}.yaml"
    path.write_text(CONFIG.format(**{**values, **settings}))
    return path, folder / name


def run(config, command="run"):
    result = idrec(command, config)
    if result.returncode != 0:
        sys.exit(f"{config}: {result.stderr[-2000:]}")
    return result


def read_h5(path, *names):
    """Columns of numbers or of texts, as h5dump prints them."""
    columns = []
    for name in names:
        text = subprocess.run(["h5dump", "-y", "-w", "0", "-m", "%.9g", "-d", name, path], capture_output=True, text=True,
                              check=True).stdout
        body = re.search(r"DATA \{(.*?)\n\s*\}", text, re.S).group(1)
        texts = re.findall(r'"([^"]*)"', body)
        columns.append([re.sub(r"(\\000)+$", "", entry) for entry in texts] if texts else
                       [float(number) for number in re.findall(r"-?[\d.]+(?:e[-+]?\d+)?|-?inf", body)])
    return columns


class Data:
    """The frozen split: items by index, and each user's in order of time."""

    def __init__(self, folder):
        path = folder / "dataset.h5"
        self.users, self.items = read_h5(path, "/users/id", "/items/id")
        self.rows = {}
        for part in ("train", "validation", "test"):
            starts, items = read_h5(path, f"/{part}/indptr", f"/{part}/indices")
            starts, items = [int(start) for start in starts], [int(item) for item in items]
            self.rows[part] = [items[starts[user]:starts[user + 1]] for user in range(len(self.users))]


def read_rankings(path):
    """{user: [(item, log-probability), ...]} by index."""
    rankings = {}
    for user, item, value in zip(*read_h5(path, "/user", "/item", "/log_probability")):
        rankings.setdefault(int(user), []).append((int(item), value))
    return rankings


def read_lists(folder, data, recommender="language_model", seed=3, arm="original"):
    """top_k.tsv by index: {user: [(item, score), ...]}"""
    users = {name: index for index, name in enumerate(data.users)}
    items = {name: index for index, name in enumerate(data.items)}
    lists = {}
    for line in (folder / f"recommenders/{recommender}/{arm}/seed-{seed}/top_k.tsv").read_text().splitlines():
        user, item, rank, score = line.split("\t")
        entries = lists.setdefault(users[user], [])
        check(int(rank) == len(entries) + 1, f"{folder}: ranks do not count")
        entries.append((items[item], float(score)))
    return lists


def check_metrics(name, folder, data):
    """Recall and NDCG of the lists, computed here."""
    lists = read_lists(folder, data)
    metrics = json.loads((folder / "recommenders/language_model/original/seed-3/metrics.json").read_text())["test"]
    sums = {"recall": 0.0, "ndcg": 0.0}
    tested = [user for user, truth in enumerate(data.rows["test"]) if truth]
    for user in tested:
        truth = set(data.rows["test"][user])
        hits = [rank for rank, (item, _) in enumerate(lists[user][:K]) if item in truth]
        sums["recall"] += len(hits) / len(truth)
        sums["ndcg"] += sum(1 / math.log2(rank + 2) for rank in hits) / sum(
            1 / math.log2(rank + 2) for rank in range(min(K, len(truth))))
    for metric, total in sums.items():
        check(abs(total / len(tested) - metrics[f"{metric}@{K}"]) < 1e-9, f"{name}: {metric} is not that of the lists")
    check(sums["recall"] > 0, f"{name}: nothing was hit, so nothing was compared")


def check_generated(name, folder, data):
    """The lists are what `generate` ranks, less what validation holds."""
    generated, lists = read_rankings(folder / "generated.h5"), read_lists(folder, data)
    check(len(lists) > 100, f"{name}: {len(lists)} lists")
    for user, entries in lists.items():
        hidden = set(data.rows["validation"][user])
        expected = [item for item, _ in generated[user] if item not in hidden][:K]
        if [item for item, _ in entries] != expected:
            check(False, f"{name}: user {user} has {entries}, and `generate` ranks {expected}")
            break


def scores_of(folder, tokens):
    result = idrec("score", folder, "--json", "--tokens=" + ",".join(map(str, tokens)))
    check(result.returncode == 0, f"score: {result.stderr}")
    return json.loads(result.stdout)


def context_of(items, separator=True):
    """BEGIN, no user, the items, SEPARATOR."""
    return [0, 3, *items, 2] if separator else [0, 3, *items]


def check_ids(name, out, data, separator):
    lists = read_lists(out, data)
    for user in (0, 7, 33):
        had = data.rows["train"][user] + data.rows["validation"][user]
        logits = scores_of(out, context_of((4 + item for item in had), separator))["next_logits"]
        left = {item: logits[4 + item] for item in range(len(data.items)) if item not in had}
        total = math.log(sum(math.exp(logit) for logit in left.values()))
        best = sorted(left, key=lambda item: -left[item])[:K]
        check([item for item, _ in lists[user]] == best, f"{name}: user {user} has {lists[user]}, not {best}")
        gap = max(abs(score - (left[item] - total)) for item, score in lists[user])
        check(gap < 1e-4, f"{name}: scores of user {user} are off by {gap}")
    return lists


def test_ids(folder):
    """In order of time, by default and with a separator: the test ranking follows train and validation, and its scores are the
    softmax over what is left."""
    settings = {"split": "{method: leave_one_out}", "arms": "[original, augmented]"}
    config, out = write_config(folder, "sequence", prompts="full: true", recommenders="[{model: language_model}]", **settings)
    check(HIDDEN not in run(config).stderr, "sequence: a model that reads the order is said not to")
    check_ids("sequence", out, Data(out), False)
    config, out = write_config(folder, "ids", prompts="shuffle: false, template: default",
                               recommenders="[{model: language_model}, {model: popularity}]", **settings)
    check(HIDDEN not in run(config).stderr, "ids: a model that reads the order is said not to")
    for stage in ("prepare", "pretrain"):
        told = idrec(stage, config, f"output={out}-shuffled", "prompts.shuffle=true")
    check(told.returncode == 0 and HIDDEN in told.stderr, f"ids: nothing is said of a hidden order: {told.stderr[:500]}")
    data = Data(out)
    check_metrics("ids", out, data)
    lists = check_ids("ids", out, data, True)
    check_arms(out)
    check_recommend(out, data, lists)


def check_arms(out):
    arms = sorted(path.name for path in (out / "recommenders/language_model").iterdir())
    check(arms == ["after-train.h5", "after-validation.h5", "original"], f"the folder holds {arms}")
    results = json.loads((out / "results.json").read_text())
    runs = [(entry["recommender"], entry["arm"], entry["seed"]) for entry in results["runs"]]
    check(runs == [("language_model", "original", seed) for seed in (3, 4)] +
          [("popularity", arm, seed) for arm in ("original", "augmented") for seed in (3, 4)], f"runs are {runs}")
    check(all(entry["recommender"] == "popularity" for entry in results["comparisons"] + results["selection"]),
          "the language model is compared with itself")
    check("own ranking" in (out / "report.md").read_text(), "the report does not say why there is one arm")
    seeds = [(out / f"recommenders/language_model/original/seed-{seed}/top_k.tsv").read_bytes() for seed in (3, 4)]
    check(seeds[0] == seeds[1], "seeds differ")


def check_recommend(out, data, lists):
    """The language model is not needed any more."""
    shutil.rmtree(out / "language_model")
    listed = idrec("recommend", out, "--recommender=language_model", f"--k={K}", "--arm=original")
    entries = {}
    for line in listed.stdout.splitlines():
        user, item, _, _ = line.split("\t")
        entries.setdefault(data.users.index(user), []).append(data.items.index(item))
    check(listed.returncode == 0, f"recommend: {listed.stderr}")
    check(all(entries.get(user) == [item for item, _ in lists[user]] for user in lists), "recommend gives other lists")


def test_codes(folder):
    """Of items of several tokens the differences of scores are those of the codes' log-probabilities."""
    config, out = write_config(folder, "codes", model="indexing: collaborative, clusters: 6, cluster_size: 12",
                               arms="[original, augmented]", prompts="shuffle: true")
    run(config)
    data = Data(out)
    check_metrics("codes", out, data)
    check_generated("codes", out, data)
    starts, tokens = read_h5(out / "language_model/indexing.h5", *code_columns(out / "language_model/indexing.h5"))
    codes = [[int(token) for token in tokens[int(starts[item]):int(starts[item + 1])]] for item in range(len(data.items))]
    check(min(map(len, codes)) > 1, "items have one token")
    config, out = write_config(folder, "ordered_codes", model="indexing: collaborative, clusters: 6, cluster_size: 12")
    run(config)
    lists = read_lists(out, data)
    for user in (1, 20):
        had = data.rows["train"][user] + data.rows["validation"][user]
        context = context_of(token for item in had for token in codes[item])
        expected = [sum(entry["log_probability"]
                        for entry in scores_of(out, context + codes[item])["tokens"][len(context):])
                    for item, _ in lists[user]]
        gap = max(abs((score - lists[user][0][1]) - (value - expected[0]))
                  for (_, score), value in zip(lists[user], expected))
        check(gap < 1e-4, f"codes: scores of user {user} are off by {gap}")
        check(lists[user][0][1] - lists[user][-1][1] > 1e-3, "codes: all scores are alike")


def code_columns(path):
    names = re.findall(r"dataset\s+(\S+)", subprocess.run(["h5dump", "-n", path], capture_output=True, text=True).stdout)
    starts = [name for name in names if "start" in name or "indptr" in name]
    tokens = [name for name in names if name.endswith("token") or name.endswith("tokens")]
    if len(starts) != 1 or len(tokens) != 1:
        sys.exit(f"{path} holds {names}")
    return starts[0], tokens[0]


def test_text(folder):
    """Names in text; beams that are as many as the trie is wide find what exact ranking does."""
    tokenizer = SOURCE / "tests/goldens/tokenizer_smollm.json"
    config, out = write_config(folder, "text", model=f"vocabulary: text, tokenizer: {tokenizer}", arms="[original, augmented]",
                               prompts="shuffle: true, length: 256", contexts=2,
                               recommenders="[{model: language_model, contexts: 2, ranked_items: 60}, "
                                            "{model: language_model, ranking: beam, contexts: 2, beams: 200}]")
    run(config)
    data = Data(out)
    check_metrics("text", out, data)
    check_generated("text", out, data)
    exact, beam = read_lists(out, data), read_lists(out, data, "language_model-2")
    check([[item for item, _ in exact[user]] for user in exact] == [[item for item, _ in beam[user]] for user in exact],
          "text: beams find other items than the exact ranking")


def test_short_beams(folder):
    """Items that no beam leads to are not recommended: lists are shorter."""
    config, out = write_config(folder, "codes", model="indexing: collaborative, clusters: 6, cluster_size: 12",
                               arms="[original]", prompts="shuffle: true",
                               recommenders="[{model: language_model, ranking: beam, beams: 1}]")
    run(config)
    data = Data(out)
    lengths = {len(entries) for entries in read_lists(out, data).values()}
    check(max(lengths) <= K and min(lengths) < K, f"lists of one beam have {lengths} items")
    check_metrics("one beam", out, data)


def test_kill(folder):
    """Parts that were done before a kill are taken; the lists are the same."""
    settings = {"model": "indexing: collaborative_ids, clusters: 6, cluster_size: 6", "prompts": "shuffle: true",
                "recommenders": "[{model: language_model, contexts: 6}]"}
    config, out = write_config(folder, "killed", **settings)
    for stage in ("prepare", "pretrain", "finetune"):
        run(config, stage)
    parts = out / "recommenders/language_model/after-train.h5.parts"
    process = subprocess.Popen([IDREC, "train", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (parts / "000000.h5").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    check((parts / "000000.h5").exists() and not (out / "recommenders/language_model/after-train.h5").exists(),
          "the kill came too late to show anything")
    run(config, "train")
    check(not parts.exists(), "parts are left behind")
    config, whole = write_config(folder, "whole", **settings)
    for stage in ("prepare", "pretrain", "finetune", "train"):
        run(config, stage)
    lists = [(path / "recommenders/language_model/original/seed-3/top_k.tsv").read_bytes() for path in (out, whole)]
    check(lists[0] == lists[1] and lists[0] != b"", "lists after a kill differ")


def test_again(folder):
    """Nothing is done twice; another cut judges again without asking the language model."""
    config, out = write_config(folder, "again")
    run(config)
    ranking = out / "recommenders/language_model/after-train.h5"
    before = ranking.stat().st_mtime_ns
    result = idrec("run", config, "evaluate.k=[3, 20]")
    check(result.returncode == 0 and ranking.stat().st_mtime_ns == before, f"ranked again: {result.stderr[-300:]}")
    metrics = json.loads((out / "recommenders/language_model/original/seed-3/metrics.json").read_text())["test"]
    check("recall@20" in metrics and "recall@10" not in metrics, "not judged at other cuts")
    result = idrec("run", config, "prompts.random_cuts=3")
    check(result.returncode == 0 and ranking.stat().st_mtime_ns != before, "another model ranks as the one before")


def test_plan(folder):
    config, _ = write_config(folder, "planned")
    result = idrec("plan", config)
    check(result.returncode == 0 and "exact rankings for 160 users" in result.stdout, f"plan: {result.stdout} {result.stderr}")
    check("generate" not in result.stdout, "plan: generation, which nothing needs")


def test_refusals(folder):
    cases = [("[{model: language_model, ranked_items: 4}]", "lists are cut at 20"),
             ("[{model: language_model, width: 8}]", "language_model does not read width"),
             ("[{model: bpr_mf, beams: 4}]", "bpr_mf does not read beams"),
             ("[{model: language_model, ranking: exactly}]", "exact")]
    for recommenders, message in cases:
        config, _ = write_config(folder, "small", recommenders=recommenders)
        lines = config.read_text().splitlines()
        place = f"small.yaml:{1 + next(i for i, line in enumerate(lines) if line.startswith('recommenders:'))}"
        result = idrec("config", config)
        check(result.returncode == 2 and place in result.stderr and message in result.stderr,
              f"{recommenders}: {result.returncode}, {result.stderr}")
    config, _ = write_config(folder, "small", recommenders="[{model: language_model}]")
    result = idrec("tune", config, "tune.space=[{key: contexts, low: 1, high: 4}]")
    check(result.returncode == 2 and "reads contexts" in result.stderr, f"tune: {result.stderr}")


def main():
    if lacks("h5dump"):
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        synthesize(folder / "data.inter", "--users=160", "--items=90", "--interactions=16", "--seed=5")
        for test in (test_ids, test_codes, test_text, test_short_beams, test_again, test_plan, test_refusals):
            begun = time.monotonic()
            test(folder)
            print(f"{test.__name__}: {time.monotonic() - begun:.1f} s", flush=True)
        synthesize(folder / "data.inter", "--users=1100", "--items=90", "--interactions=16", "--seed=5")
        test_kill(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
