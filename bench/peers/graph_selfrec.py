"""Seconds of SELFRec's training steps of a graph model: its own model, loss, sampler and optimizer.

    SELFREC=checkout python graph_selfrec.py MODEL TRAIN TEST [--device cuda] [--steps N] [--threads N]

The checkout is github.com/Coder-Yu/SELFRec; MODEL is LightGCN, SGL, SimGCL, XSimGCL or NCL; TRAIN and TEST hold `user item
item ...` lines, gzip'ed or not. Needs torch, numpy, scipy, pyyaml. Width 64, batch 2048, 3 layers, the other settings those
of its conf/; NCL is in its warm-up, without prototypes. It calls .cuda() everywhere: on the CPU that is made to do nothing,
and numba, which only its ranking uses, and faiss, which only NCL's prototypes use, may be missing. Prints the medians of
drawing a batch and of a step, without the first two, and an epoch put together from the two. Ours beside it:

    bench_recommenders [--device cuda] steps TRAIN N THREADS model=MODEL
"""
import argparse
import gzip
import importlib
import os
import statistics
import sys
import tempfile
import time
import types

import torch


def rows_of(path):
    """What its loader would read: [user, item, weight], ids as text."""
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt") as file:
        lines = [line.split() for line in file]
    return [[user, item, 1.0] for user, *items in lines for item in items]


def do_without_cuda():
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self


def stand_in_for(name, **members):
    try:
        importlib.import_module(name)
    except ImportError:
        sys.modules[name] = types.SimpleNamespace(**members)


class Clock:
    """Takes the place of its sampler, of whose batches `steps` + 2 are handed on."""

    def __init__(self, sampler, steps, device):
        self.sampler, self.steps, self.device = sampler, steps, device
        self.draws, self.trainings, self.batches = [], [], 0

    def now(self):
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def __call__(self, data, batch_size):
        self.batches = -(-len(data.training_data) // batch_size)
        batches = self.sampler(data, batch_size)
        for _ in range(self.steps + 2):
            started = self.now()
            batch = next(batches)
            drawn = self.now()
            yield batch
            self.draws.append(drawn - started)
            self.trainings.append(self.now() - drawn)


def read_settings(name):
    from util.conf import ModelConf
    settings = ModelConf(f"conf/{name}.yaml")
    settings.config |= {"max.epoch": 1, "batch.size": 2048, "embedding.size": 64}
    settings.config[name]["n_layer"] = 3
    return settings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("LightGCN", "SGL", "SimGCL", "XSimGCL", "NCL"))
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train, test = rows_of(options.train), rows_of(options.test)
    if options.device == "cpu":
        do_without_cuda()
    stand_in_for("numba", jit=lambda *_, **__: lambda function: function)
    stand_in_for("faiss")
    checkout = os.path.abspath(os.environ["SELFREC"])
    sys.path.insert(0, checkout)
    os.chdir(checkout)
    module = importlib.import_module(f"model.graph.{options.model}")
    settings = read_settings(options.model)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it writes its log into ./log
        os.mkdir("log")
        recommender = getattr(module, options.model)(settings, train, test)
        clock = module.next_batch_pairwise = Clock(module.next_batch_pairwise, options.steps, options.device)
        recommender.fast_evaluation = recommender.save = lambda *_: None
        recommender.best_user_emb = recommender.best_item_emb = None
        recommender.train()
    draw, step = statistics.median(clock.draws[2:]), statistics.median(clock.trainings[2:])
    print(f"SELFRec {options.model}, torch {torch.__version__} on {options.device}, {options.threads} threads: median of "
          f"{options.steps} batches drawn in {1e3 * draw:.1f} ms and trained on in {1e3 * step:.1f} ms; an epoch of "
          f"{clock.batches} steps {clock.batches * (draw + step):.1f} s")


if __name__ == "__main__":
    main()
