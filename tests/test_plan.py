"""`idrec plan`: tokens and operations are those that the run reports, memory that of its arenas, files about as large as they
become; what does not fit is told; sizes, shapes and rates can be given instead of found; bad usage is refused.
"""

import json
import math
import pathlib
import re
import sys
import tempfile

from checking import SOURCE, check, idrec, status, synthesize

CONFIG = """\
name: plan
device: cpu
data: {path: data.inter}
language_model: {layers: 2, width: 32, heads: 2}
prompts: {random_cuts: 2}
pretrain: {epochs: 2, patience: 0}
finetune: {epochs: 1, patience: 0}
generate: {contexts: 2, max_items: 10}
augment: {use: [positives], per_user: [2], select: fixed}
recommenders:
- {model: bpr_mf, width: 16, epochs: 4, patience: 0, evaluate_every: 2}
- {model: item_knn}
experiment: {arms: [original, augmented], seeds: 2, parallel: 1}
evaluate: {k: [10]}
"""
STUDY = """\
extends: plan.yaml
name: study
recommenders:
- {model: bpr_mf, width: 8, epochs: 2, patience: 0}
- {model: lightgcn, width: 8, layers: 2, epochs: 2, patience: 0}
- {model: item_knn}
experiment:
  trials_at_once: 1
  sweep: {"recommenders[0].width": [8, 16], generate.contexts: [1, 2]}
"""
SHARED = ("prepare", "pretrain", "finetune", "generate", "augment")
TEXT = """\
name: text
device: cpu
data: {format: adjacency, split: {method: provided, train: none.txt, test: none.txt}}
language_model: {vocabulary: text, checkpoint: SHAPE, dropout: 0}
prompts: {full: false, random_cuts: 20, length: 2048}
pretrain: {enabled: false}
finetune: {objective: next, loss_on: all, steps: 400, sequences_per_batch: 8, accumulate: 4, tokens_per_batch: 16384}
generate: {method: sampling, contexts: 1, samples: 1, constrained: false}
recommenders: [{model: bpr_mf}]
"""
YELP = ["--users=31668", "--items=38048", "--interactions=1237259"]
ASSUMED = ["--device-tflops=100", "--efficiency=0.5"]


def plan(folder, *arguments):
    result = idrec(folder, "plan", *arguments, "--json")
    check(result.returncode == 0, f"{arguments}: {result.stderr[-500:]}")
    whole = json.loads(result.stdout)
    return whole, {stage["stage"]: stage for stage in whole.get("stages", [])}


def near(a, b, tolerance):
    return abs(a - b) <= tolerance * abs(b)


def folder_bytes(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_against_run(folder):
    whole, stages = plan(folder, "plan.yaml", "--seconds=0.5")
    check(not (folder / "runs").exists(), "a plan writes nothing")
    result = idrec(folder, "run", "plan.yaml", "output=run")
    check(result.returncode == 0, result.stderr[-500:])
    costs = {cost["stage"]: cost for cost in json.loads((folder / "run" / "results.json").read_text())["cost"]}
    for name in ("pretrain", "finetune", "generate"):
        stage, cost = stages[name], costs[name]
        check(stage["tokens"] == [cost["tokens"]] * 2, f"{name}: tokens {stage['tokens']}, {cost['tokens']}")
        for bound in stage["flops"]:
            check(near(bound, cost["flops"], 0.02), f"{name}: operations {bound}, {cost['flops']}")
        check(stage["seconds"][1] < 30 * cost["seconds"] + 3, f"{name}: {stage['seconds']}, {cost['seconds']}")
        check(cost["seconds"] < 30 * stage["seconds"][1] + 3, f"{name}: {stage['seconds']}, {cost['seconds']}")
    tables = [list(map(float, re.findall(r"(?:weights|gradients|optimizer|batch|activations|scratch) +([\d.]+) MiB", part)))
              for part in result.stderr.split("memory of the language model")[1:]]
    for name, table in zip(("pretrain", "finetune"), tables):
        arenas = sum(part["bytes"] for part in stages[name]["memory"]
                     if part["name"] in ("weights", "gradients", "optimizer", "batch", "activations", "scratch"))
        check(near(arenas / 2**20, sum(table[:6]), 0.1), f"{name}: memory {arenas / 2**20}, {table}")
    disk, used = whole["total"]["disk_bytes"], folder_bytes(folder / "run")
    check(near(disk, used, 0.2), f"disk {disk}, {used}")


def test_fits(folder):
    """Fits are counted as `train` does them: two arms of two seeds; item_knn is the same for every seed."""
    _, stages = plan(folder, "plan.yaml", "--seconds=0.1")
    check(stages["bpr_mf"]["work"].startswith("4 fits of 4 epochs"), stages["bpr_mf"]["work"])
    check(stages["item_knn"]["work"].startswith("2 fits"), stages["item_knn"]["work"])
    _, stages = plan(folder, "plan.yaml", "augment.select=validation", "recommenders[0].patience=2", "--seconds=0.1")
    check("of 4 epochs, 2 of them" in stages["bpr_mf"]["work"], stages["bpr_mf"]["work"])
    low, high = stages["train"]["seconds"]
    check(low < high, f"the augmented arm is done only where a choice is adopted: {low}, {high}")
    _, alone = plan(folder, "plan.yaml", "experiment.arms=[original]", "--seconds=0.1")
    check("pretrain" not in alone, "the original arm needs no language model")
    tuned = ["tune.use=true", "tune.trials=9", "tune.first_epochs=2",
             "tune.space=[{key: width, values: [8, 16]}]", "--seconds=0.1"]
    _, stages = plan(folder, "plan.yaml", *tuned)
    check(stages["tune"]["seconds"][1] > 0, "tuning takes time")


def bytes_on_disk(path):
    """Hard links once."""
    return sum({(file.stat().st_dev, file.stat().st_ino): file.stat().st_size
                for file in path.rglob("*") if file.is_file()}.values())


def check_sums(whole):
    """The figures of the trials add up to those of the study."""
    for bound in (0, 1):
        work = sum(stage["seconds"][bound] for trial in whole["trials"] for stage in trial["stages"] if not stage["part"])
        check(near(whole["total"]["work_seconds"][bound], work, 1e-6), f"work: {whole['total']}, {work}")
        # One trial after another: nothing but starting them comes on top.
        rest = whole["total"]["seconds"][bound] - work
        check(-1e-6 * work <= rest <= 1.0 * len(whole["trials"]), f"seconds: {whole['total']}, {work}")
    disk = sum(stage["disk_bytes"] for trial in whole["trials"] for stage in trial["stages"]
               if not stage["part"] and not stage["taken"])
    check(near(whole["total"]["disk_bytes"], disk, 1e-6), f"disk: {whole['total']}, {disk}")


def test_study(folder):
    """Of four trials that are two generations by two widths, as the run of the study counts them afterwards."""
    (folder / "study.yaml").write_text(STUDY)
    whole = plan(folder, "study.yaml", *ASSUMED)[0]
    check([trial["trial"] for trial in whole["trials"]] ==
          ["width=8,contexts=1", "width=8,contexts=2", "width=16,contexts=1", "width=16,contexts=2"], "names of trials")
    taken = [[stage["stage"] for stage in trial["stages"] if stage["taken"]] for trial in whole["trials"]]
    check(taken == [[], list(SHARED[:3]), list(SHARED), list(SHARED)], f"stages that are taken: {taken}")
    check(whole["trials"][2]["stages"][3]["taken_from"] == "width=8,contexts=1", "who generates")
    check_sums(whole)
    _, alone = plan(folder, "study.yaml", "--trial=width=8,contexts=1", *ASSUMED)
    for stage in whole["trials"][0]["stages"]:
        for figure in ("seconds", "disk_bytes", "flops"):
            if stage["stage"] != "prepare":
                check(stage[figure] == alone[stage["stage"]][figure], f"the first trial shares nothing: {stage['stage']}")
    result = idrec(folder, "run", "study.yaml")
    check(result.returncode == 0, result.stderr[-500:])
    shared = [path.name for path in (folder / "runs" / "study" / "shared").iterdir() if path.is_dir()]
    fits = sum(name.startswith("fit-") for name in shared)
    total = whole["total"]
    check(total["fits"] - total["fits_taken"] == fits, f"fits: {total}, {fits}")
    check(total["stages_taken"] == 4 * len(SHARED) - (len(shared) - fits), f"stages: {total}, {shared}")
    used = bytes_on_disk(folder / "runs" / "study")
    check(near(total["disk_bytes"], used, 0.25), f"disk {total['disk_bytes']}, {used}")
    check_comparisons(folder, whole["comparisons"])


def check_comparisons(folder, planned):
    """Of bpr_mf four augmented arms, of the others, which the width does not concern, two; and no more in the study."""
    check(planned["families"] == {"original": 4 + 2 + 2, "controls": 0, "reference": 3 + 1 + 1 + 1}, f"comparisons: {planned}")
    check(planned["seeds"] == 2 and planned["equal_trials"] == [], f"comparisons: {planned}")
    families = json.loads((folder / "runs" / "study" / "results.json").read_text())["families"]
    check(families, "no families in results.json")
    for family in families:
        counted = planned["families"][family["question"]]
        check(0 < family["size"] <= counted < family["comparisons"], f"planned {planned}, found {family}")


def two_sided(t, freedom, steps=20000):
    """P(|T| >= t) by Simpson's rule over the density of Student's t, from 0 to t."""
    density = lambda x: (1 + x * x / freedom) ** (-(freedom + 1) / 2)
    constant = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    width = t / steps
    inner = sum(density(place * width) * (1 if place in (0, steps) else 4 if place % 2 else 2) for place in range(steps + 1))
    return 1 - 2 * constant * inner * width / 3


def test_needed_seeds(folder):
    """How far apart arms must be; and trials that are the same under two names."""
    for seeds in (5, 10):
        planned = plan(folder, "study.yaml", *ASSUMED, f"experiment.seeds={seeds}")[0]["comparisons"]
        for question, size in (("original", 8), ("reference", 6)):
            needed = planned["needed_deviations"][question]
            p = two_sided(needed * math.sqrt(seeds), seeds - 1)
            check(near(p, 0.05 / size, 1e-6), f"{question}, {seeds} seeds: {needed} deviations have p {p}")
        check(planned["needed_deviations"]["controls"] is None, f"no controls: {planned}")
    printed = idrec(folder, "plan", "study.yaml", *ASSUMED, "experiment.seeds=5").stdout
    check(re.search(r"^comparisons of a metric, at most: 8 against the original arm, 6 against the reference; from 5 seeds "
                    r"the first of each must reach 2\.4, 2\.2 standard deviations", printed, re.M), printed)
    equal = ["study.yaml", "experiment.sweep_list=[{name: a}, {name: b, finetune.rank: 8}, {name: c, finetune.rank: 4}]"]
    told = plan(folder, *equal, *ASSUMED)[0]["comparisons"]["equal_trials"]
    check(told == [["width=8,contexts=2", "a", "b"]], f"equal trials: {told}")
    for command in (["plan", *equal, *ASSUMED], ["status", *equal]):
        check("width=8,contexts=2, a, b: equal configurations" in idrec(folder, *command).stdout, f"{command[0]} doesn't warn of equal trials")


def test_study_side_by_side(folder):
    """Trials that run at a time do each fit once, and need memory at a time."""
    one = plan(folder, "study.yaml", *ASSUMED)[0]["total"]
    two = plan(folder, "study.yaml", *ASSUMED, "experiment.trials_at_once=2", "--memory=60MB")[0]["total"]
    check(two["fits_taken"] == one["fits_taken"] > 0, f"{two['fits_taken']} and {one['fits_taken']} fits are taken")
    check(one["memory_bytes"] < two["memory_bytes"] <= 2 * one["memory_bytes"], "memory of two trials")
    check(not two["fits_memory"], f"{two['memory_bytes']} bytes do not fit")
    printed = idrec(folder, "plan", "study.yaml", *ASSUMED, "experiment.trials_at_once=2", "--memory=60MB").stdout
    check("2 trials at a time do not fit" in printed and "experiment.trials_at_once" in printed, printed[-400:])
    check(re.search(r"^width=16,contexts=2 +(= +){5}", printed, re.M), printed)
    check(re.search(r"^about .* \(assumed, not measured\) with 2 trials at a time, ", printed, re.M), printed[-300:])


def test_memory(folder):
    _, stages = plan(folder, "plan.yaml", *ASSUMED, "--memory=1MB")
    check(not stages["finetune"]["fits"] and stages["finetune"]["lower"], "a megabyte is too little")
    printed = idrec(folder, "plan", "plan.yaml", *ASSUMED, "--memory=1MB").stdout
    check("finetune does not fit: it needs" in printed and "tokens_per_batch" in printed, printed[-600:])
    check(re.search(r"^about .* \(assumed, not measured\), .* of memory", printed, re.M), printed[-300:])
    _, stages = plan(folder, "plan.yaml", *ASSUMED, "--memory=2TB")
    check(all(stage["fits"] for stage in stages.values()), "2 TB are enough")


def test_given(folder):
    """Llama-2-7B on yelp2018, neither of which is at hand."""
    for shape, billions in (("llama-2-7b", 6.74), ("llama-3.1-8b", 8.03), ("qwen3-0.6b", 0.596),
                            ("llama-3.2-1b", 1.236), ("tinyllama-1.1b", 1.1)):
        (folder / "text.yaml").write_text(TEXT.replace("SHAPE", str(SOURCE / "configs" / "shapes" / shape)))
        whole, stages = plan(folder, "text.yaml", "prompts.length=1500", *YELP, *ASSUMED)
        weights = {part["name"]: part["bytes"] for part in stages["generate"]["memory"]}["weights"]
        check(near(weights / 4e9, billions, 0.01), f"{shape}: {weights / 4e9} billion values")
        check(stages["finetune"]["basis"] == "assumed", "rates of a device that is not here are assumed")
    check(near(whole["data"]["train"], 1237259, 1e-3), f"rows: {whole['data']}")
    fits_a_card(folder)
    _, again = plan(folder, "text.yaml", "prompts.length=1500", *YELP, "--device-tflops=200", "--efficiency=0.5")
    check(near(again["finetune"]["seconds"][1] * 2, stages["finetune"]["seconds"][1], 0.01), "twice as fast")
    _, longer = plan(folder, "text.yaml", "prompts.length=1500", *YELP, *ASSUMED, "--tokens-per-item=20")
    check(longer["finetune"]["tokens"][1] > 1.5 * stages["finetune"]["tokens"][1], "longer ids are more tokens")


def fits_a_card(folder):
    """As many lists at a time as fit beside 7B weights; none in half a gibibyte."""
    (folder / "seven.yaml").write_text(TEXT.replace("SHAPE", str(SOURCE / "configs" / "shapes" / "llama-2-7b")))
    for base, batch in (("precision", 256), ("nf4", 256), ("nf4", 2)):
        _, stages = plan(folder, "seven.yaml", *YELP, *ASSUMED, "--memory=24GB", "device=cuda",
                         "language_model.precision=bf16",
                         f"finetune.base={base}", f"generate.batch={batch}", "generate.max_items=200", "generate.max_tokens=200")
        stage = stages["generate"]
        together = int(re.search(r"(\d+) sequences? decoded together", stage["work"])[1])
        check(stage["fits"] and stage["memory_bytes"] > 1e10 * (batch > 2), f"{base}: {stage['memory_bytes']}")
        check(2 <= together <= batch + 1, f"{base}, batch {batch}: {together} at a time")
    result = idrec(folder, "plan", "seven.yaml", *YELP, *ASSUMED, "generate.memory=0.5")
    check(result.returncode == 2 and "generate.memory is 0.5" in result.stderr, result.stderr[-300:])


def test_large(folder):
    """A hundred million rows: nothing overflows, and what cannot be is told."""
    (folder / "large.yaml").write_text("name: large\ndevice: cpu\ndata: {path: none.inter}\n"
                                       "recommenders: [{model: ease}, {model: item_knn}]\n"
                                       "experiment: {arms: [original], seeds: 1, parallel: 1}\n")
    sizes = ["--users=5000000", "--items=500000", "--interactions=100000000"]
    whole, stages = plan(folder, "large.yaml", *sizes, *ASSUMED, "--memory=140GB")
    check(near(whole["data"]["train"], 1e8, 1e-3), f"rows: {whole['data']}")
    check(near(stages["ease"]["memory_bytes"], 4 * 500000**2, 0.1), f"items by items: {stages['ease']['memory_bytes']}")
    check(stages["item_knn"]["memory_bytes"] < 1e10, f"items by neighbors: {stages['item_knn']['memory_bytes']}")
    check(not stages["train"]["fits"] and "leave ease out" in stages["train"]["lower"], stages["train"]["lower"])
    lists = {part["name"]: part["bytes"] for part in stages["train"]["files"]}["top_k.tsv"]
    check(2 * 5e6 * 20 * 20 < lists < 2 * 5e6 * 20 * 40, f"top_k.tsv: {lists}")
    for stage in stages.values():
        figures = [*stage["seconds"], *stage["flops"], stage["memory_bytes"], stage["disk_bytes"]]
        check(all(0 <= figure < 1e15 for figure in figures) and stage["seconds"][1] > 0, f"{stage['stage']}: {figures}")


def test_bandwidth(folder):
    """A memory that is slow makes steps that compute little slow."""
    bound = [plan(folder, "plan.yaml", *ASSUMED, "generate.method=sampling", f"--bandwidth={rate}")[1]["generate"]["seconds"][1]
             for rate in (1, 2)]
    check(near(bound[0], 2 * bound[1], 0.01), f"half of the bandwidth, twice the time: {bound}")


def amount(stage, name):
    return next((part["bytes"] for part in stage["memory"] if part["name"] == name), 0)


def test_ranks(folder):
    """70 billion frozen weights over 8 cards, by hand: a layer is 2 w h (q + k heads) + 3 w hidden + 2 norms in bf16; a step of 4
    batches is one round of half batches, which gathers 80 layers but two forward and backward."""
    width, hidden, layers, ranks, vocabulary = 8192, 28672, 80, 8, 128256
    layer = 2 * (2 * width * 128 * (64 + 8) + 3 * width * hidden + 2 * width)
    shape = [f"language_model.checkpoint={SOURCE / 'configs' / 'shapes' / 'llama-70b-like'}", "device=cuda",
             "language_model.precision=bf16", "finetune.recompute=true", "finetune.shard_base=true", *YELP,
             "--device-tflops=990", "--efficiency=0.35", "--memory=80GB"]
    _, stages = plan(folder, "text.yaml", *shape, "--ranks=8", "--link=450")
    stage, exchange = stages["finetune"], stages["finetune"]["exchange"]
    check(stage["fits"] and not stages["generate"]["fits"], "the base fits by parts, and generation needs it whole")
    check(near(amount(stage, "its base"), layers * layer / ranks, 1e-4), f"{amount(stage, 'its base')} of {layers * layer}")
    check(near(amount(stage, "two layers"), 2 * layer, 1e-4), f"{amount(stage, 'two layers')}, not two of {layer}")
    check(near(amount(stage, "weights"), 4 * vocabulary * width, 0.05), f"tables: {amount(stage, 'weights')}")
    check(exchange["rounds"] == 1 and near(exchange["layer_bytes"], 2 * (layers - 2) * layer * 7 / 8, 1e-4), f"{exchange}")
    check(near(exchange["validated_layer_bytes"], layers * layer * 7 / 8, 1e-4), f"{exchange}")
    check(near(exchange["sum_bytes"], 7 / 8 * amount(stage, "gradients"), 1e-3), f"{exchange}")
    check(1 < exchange["computing_seconds"] < exchange["step_seconds"] < 1.01 * exchange["computing_seconds"], f"{exchange}")
    slow = plan(folder, "text.yaml", *shape, "--ranks=8", "--link=50")[1]["finetune"]
    bytes_ = sum(slow["exchange"][name] for name in ("layer_bytes", "sum_bytes", "weight_bytes"))
    check(near(slow["exchange"]["step_seconds"], bytes_ / 50e9, 1e-6), f"bound by the link: {slow['exchange']}")
    check(slow["seconds"][1] > 2 * stage["seconds"][1], f"{slow['seconds']}, {stage['seconds']}")
    alone = plan(folder, "text.yaml", *shape)[1]["finetune"]
    check(not alone["fits"] and alone["exchange"] is None and amount(alone, "its base") == 0, "one process holds all")
    check(near(alone["flops"][1], stage["flops"][1], 0.01), f"operations: {alone['flops']}, {stage['flops']}")
    check(near(alone["seconds"][1] / 8, stage["seconds"][1], 0.02), f"an eighth of the time: {alone['seconds']}, {stage['seconds']}")
    whole = plan(folder, "text.yaml", *shape, "finetune.shard_base=false", "--ranks=8", "--link=450")[1]["finetune"]
    check(not whole["fits"] and "finetune.shard_base: true" in whole["lower"], whole["lower"])
    printed = idrec(folder, "plan", "text.yaml", *shape, "--ranks=8").stdout
    check("each of 8 ranks sends 234 GB a step, 234 GB of it frozen layers in 1 round; --link" in printed, printed[-3000:])


def test_refusals(folder):
    for arguments, expected in (
            (["plan.yaml", "--memory=much"], "--memory=much: a size"),
            (["plan.yaml", "--efficiency=0.5"], "belong to --device-tflops"),
            (["plan.yaml", "--device-tflops=0"], "above 0"),
            (["plan.yaml", "--users=5"], "give all three"),
            (["plan.yaml", "--users=5", "--items=9", "--interactions=3"], "at least one row each"),
            (["plan.yaml", "data.path=nowhere.inter"], "give the sizes"),
            (["text.yaml", "language_model.checkpoint=null"], "needs language_model.checkpoint"),
            (["study.yaml", "--trial=width=9"], "has no such trial"),
            (["plan.yaml", "--ranks=0"], "--ranks=0"),
            (["plan.yaml", "--link=50"], "belongs to --ranks"),
            (["study.yaml", "--ranks=2"], "ranks of a study take whole trials"),
            (["plan.yaml", "--colour=red"], "is not an option"),
            ([], "usage")):
        result = idrec(folder, "plan", *arguments)
        check(result.returncode == 2 or "nowhere" in str(arguments), f"{arguments}: status {result.returncode}")
        check(result.returncode != 0 and expected in result.stderr, f"{arguments}: {result.stderr[-300:]}")
    result = idrec(folder, "run", "text.yaml")
    check(result.returncode != 0, f"what can only be planned is not run: {result.stderr[-300:]}")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "plan.yaml").write_text(CONFIG)
        synthesize(folder / "data.inter", "--users=300", "--items=150", "--interactions=20")
        test_against_run(folder)
        test_fits(folder)
        test_study(folder)
        test_study_side_by_side(folder)
        test_needed_seeds(folder)
        test_memory(folder)
        test_given(folder)
        test_large(folder)
        test_bandwidth(folder)
        test_ranks(folder)
        test_refusals(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
