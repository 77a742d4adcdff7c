"""ml-100k from interactions to report on the CPU and on the GPU: equal within the noise of seeds, the same bits again."""
import json
import pathlib
import signal
import statistics
import time

from .runner import Failed, quantity, stop

# What measures time or memory, and nothing else, may differ between two runs on one device.
MEASURED = {"seconds", "cost", "efficiency", "peak_memory_bytes", "tokens_per_second"}

CONFIG = """
name: ml-100k-short
data: {{path: {data}, format: recbole, split: {{method: random, ratios: [0.8, 0.1, 0.1]}}}}
language_model: {{layers: {layers}, width: {width}, heads: 2}}
prompts: {{random_cuts: 1}}
pretrain: {{{language_steps}}}
finetune: {{{language_steps}}}
generate: {{contexts: {contexts}, max_items: {items}}}
augment: {{per_user: [{items}], use: [positives]}}
recommenders:
- {{model: bpr_mf, optimizer: adam, learning_rate: 5.0e-3, regularization: 1.0e-4, batch: {batch}, epochs: {epochs},
   patience: 0}}
- {{model: lightgcn, layers: 2, learning_rate: 2.0e-2, regularization: 1.0e-3, batch: {batch}, epochs: {epochs},
   patience: 0}}
experiment: {{seeds: {seeds}, arms: [original, augmented]}}
"""
SHORT = dict(layers=2, width=64, language_steps="epochs: 2", contexts=2, items=5, batch=8192, epochs=20, seeds=3)
SMALL = dict(layers=1, width=16, language_steps="steps: 4, tokens_per_batch: 256", contexts=1, items=2, batch=256, epochs=2,
             seeds=2)


def write_config(context):
    path = pathlib.Path(context.folder) / "ml-100k-short.yaml"
    data = small_data(context) if context.small else context.place.data / "ml-100k.inter.gz"
    path.write_text(CONFIG.format(data=data, **(SMALL if context.small else SHORT)), encoding="utf-8")
    return path


def small_data(context):
    path = pathlib.Path(context.folder) / "small.inter"
    context.program("idrec", "synthesize", path, "--users", 60, "--items", 60, "--seed", 5)
    return path


def run(context, config, name, device):
    folder = pathlib.Path(context.folder) / name
    started = time.monotonic()
    context.program("idrec", "run", config, f"output={folder}", f"device={device}")
    return folder, time.monotonic() - started


def run_killed(context, config, name, device, seconds):
    """Kills the run twice on its way, then lets it end. Returns its folder and how often it was hit."""
    folder, hits = pathlib.Path(context.folder) / name, 0
    command = [str(context.place.program("idrec")), "run", str(config), f"output={folder}", f"device={device}"]
    for share in (0.45, 0.35):
        process, _ = context.start(command, context.place.environment())
        ended = time.monotonic() + min(share * seconds, max(context.left(), 0.0))
        while process.poll() is None and time.monotonic() < ended:
            time.sleep(0.01)
        hits += process.poll() is None
        stop(process)
        context.note(f"killed by signal {signal.SIGKILL.value} after {share:.0%} of a run's time")
    run(context, config, name, device)
    return folder, hits


def without_measured(value):
    if isinstance(value, dict):
        return {key: without_measured(entry) for key, entry in value.items() if key not in MEASURED}
    return [without_measured(entry) for entry in value] if isinstance(value, list) else value


def results_of(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def artefacts(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.suffix in {".h5", ".tsv", ".safetensors"}}


def differences(reference, other):
    """What is not the same, bit for bit, in two runs' results, models, lists and generated rows."""
    names, others = artefacts(reference), artefacts(other)
    found = [f"only one run has {name}" for name in sorted(names ^ others)]
    found += [f"{name} differs" for name in sorted(names & others)
              if (reference / name).read_bytes() != (other / name).read_bytes()]
    if without_measured(results_of(reference)) != without_measured(results_of(other)):
        found.append("results.json differs")
    return found, len(names & others)


def check_bits(context, name, reference, other, detail=""):
    found, files = differences(reference, other)
    context.figure(name, f"{files} files{detail}, " + ("the same bits" if not found else f"{len(found)} differences"))
    for difference in found:
        context.note(difference)
    return [f"{name}: {found[0]}"] if found else []


def by_arm(results, metric):
    values = {}
    for entry in results["runs"]:
        values.setdefault((entry["recommender"], entry["arm"]), []).append(entry["metrics"][metric])
    return values


def compare_metrics(context, on_cpu, on_device):
    """Means over seeds may differ by three standard errors of their difference, or by 2 % where seeds hardly differ."""
    wrong = []
    for metric in ("recall@20", "ndcg@20"):
        expected, found = by_arm(results_of(on_cpu), metric), by_arm(results_of(on_device), metric)
        for key in sorted(expected):
            a, b = expected[key], found.get(key, [0.0])
            mean_a, mean_b = statistics.mean(a), statistics.mean(b)
            noise = 3 * ((statistics.pvariance(a) + statistics.pvariance(b)) / max(len(a) - 1, 1)) ** 0.5
            context.figure(f"{metric} {' '.join(key)} on {context.device}", f"{mean_b:.5f}", peer=f"{mean_a:.5f} on cpu")
            if abs(mean_a - mean_b) > max(noise, 0.02 * mean_a):
                wrong.append(f"{metric} of {' '.join(key)}: {mean_b:.5f} on {context.device}, {mean_a:.5f} on cpu")
    return wrong


def work(context):
    config = write_config(context)
    on_cpu, _ = run(context, config, "cpu", "cpu")
    first, seconds = run(context, config, "first", context.device)
    context.kept["costs"] = {"cpu": results_of(on_cpu)["cost"], context.device: results_of(first)["cost"]}
    wrong = compare_metrics(context, on_cpu, first)
    again, _ = run(context, config, "again", context.device)
    wrong += check_bits(context, "the same seed twice", first, again)
    killed, hits = run_killed(context, config, "killed", context.device, seconds)
    wrong += check_bits(context, "killed and resumed", first, killed, f", killed {hits} times")
    if wrong:
        raise Failed("; ".join(wrong))


def stage_costs(context):
    """Seconds and tokens a second of each stage, beside the CPU of the same machine."""
    costs = context.kept.get("costs")
    if not costs:
        raise Failed("the end-to-end part left no costs")
    on_cpu = {entry["stage"]: entry for entry in costs["cpu"]}
    for entry in costs[context.device]:
        rate = quantity(entry["tokens_per_second"], "tokens/s") if entry["tokens"] else ""
        memory = entry.get("peak_device_memory_bytes")
        more = [text for text in (rate, f"{memory / 2**20:,.0f} MiB on the device" if memory else "") if text]
        context.compare(" ".join([entry["stage"], *more]), entry["seconds"], on_cpu[entry["stage"]]["seconds"], "s",
                        lower_is_better=True)
