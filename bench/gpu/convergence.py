"""LightGCN on gowalla's published split to convergence, under both protocols."""
import json
import pathlib
import time

from .parts import Part, epoch_of, recommender_data
from .runner import Failed

PUBLISHED = {"recall@20": 0.1824, "ndcg@20": 0.1547}  # He et al., SIGIR 2020, by the best epoch on test
TOLERANCE = 0.01
EPOCHS = 1000

# Which part of train each protocol keeps for validation: the published figure is that of all of train.
VALIDATION = {"test_selected": 0.0, "clean": 0.1}

# The language model is not what is measured: it is not trained, and its rows go into no arm.
CONFIG = """
name: gowalla
data:
  format: adjacency
  split: {{method: provided, train: {train}, test: {test}, validation_ratio: {validation}}}
language_model: {{layers: 1, width: 16, heads: 1}}
pretrain: {{epochs: 0}}
finetune: {{epochs: 0}}
generate: {{max_items: 1}}
augment: {{select: fixed, use: [positives], per_user: [1]}}
recommenders:
- {{model: lightgcn, width: 64, layers: 3, learning_rate: 1.0e-3, regularization: 1.0e-4, batch: 2048, epochs: {epochs},
   evaluate_every: {every}, patience: 100}}
experiment: {{seeds: 1, arms: [original]}}
evaluate: {{k: [20], protocol: {protocol}, resamples: 100}}
"""


def train(context, protocol, data, epochs):
    folder = pathlib.Path(context.folder)
    config = folder / f"{protocol}.yaml"
    config.write_text(CONFIG.format(protocol=protocol, train=data[0], test=data[1], epochs=epochs,
                                    every=min(10, epochs), validation=VALIDATION[protocol]), encoding="utf-8")
    started = time.monotonic()
    context.program("idrec", "run", config, f"output={folder / 'run'}", f"device={context.device}")
    entry = json.loads((folder / "run" / "results.json").read_text(encoding="utf-8"))["runs"][0]
    context.figure(f"{protocol}: the whole run", f"{time.monotonic() - started:.1f} s, {entry['epochs']} epochs in "
                   f"{entry['seconds']:.1f} s, best {entry['best_epoch']}", aim="under 600 s")
    return entry["metrics"]


def work(context):
    """The epoch is timed first, so that both trainings fit into the time that is left."""
    data = recommender_data(context)
    settings = ["model=lightgcn", "layers=3", "batch=2048"]
    epoch, _ = epoch_of(context, data[0], settings, 1 if context.small else 3)
    missed = []
    for protocol, share in zip(VALIDATION, (0.55, 0.8)):
        affordable = int(share * context.left() / (1.25 * epoch))  # the rest: preparing, and ranking every tenth epoch
        epochs = 2 if context.small else max(1, min(EPOCHS, affordable))
        found = train(context, protocol, data, epochs)
        for metric, published in PUBLISHED.items():
            aim = f"{published} within 1 %" if protocol == "test_selected" else ""
            context.figure(f"{protocol}: {metric}", f"{found[metric]:.4f}", aim=aim)
            if aim and found[metric] < (1 - TOLERANCE) * published:
                missed.append(f"{metric} {found[metric]:.4f} is more than 1 % below {published}, {epochs} epochs at most")
    if missed and not context.small:
        raise Failed("; ".join(missed))


def part():
    return Part("convergence", 580, work)
