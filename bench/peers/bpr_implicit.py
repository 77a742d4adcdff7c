"""Seconds of an epoch of implicit's BayesianPersonalizedRanking on the CPU or a GPU, and its ranking quality.

    python bpr_implicit.py TRAIN TRUTH [--gpu] [--epochs N] [--threads N] [--learning-rate R] [--regularization R] [--seed S]

TRAIN and TRUTH: `user item item ...` lines or `user item` pairs. Needs implicit (PyPI), numpy, scipy. Prints wall
and processor seconds of fit() alone, divided by the epochs, and NDCG@20 over full ranking. On a GPU it has 63 factors, which with
its bias make rows of 64.
"""
import argparse
import gzip
import time

import numpy as np
import scipy.sparse


def read(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt") as file:
        for line in file:
            user, *items = line.split()
            for item in items:
                yield user, item


def matrices(train_path, truth_path):
    users, items, parts = {}, {}, []
    for path in (train_path, truth_path):
        pairs = [(users.setdefault(user, len(users)), items.setdefault(item, len(items)))
                 for user, item in read(path)]
        parts.append(np.array(pairs))
    shape = (len(users), len(items))
    return [scipy.sparse.csr_matrix((np.ones(len(part), np.float32), part.T), shape=shape) for part in parts]


def ndcg(user_factors, item_factors, train, truth, cut=20, block=1024):
    discount = 1 / np.log2(np.arange(2, cut + 2))
    values = []
    tested = np.flatnonzero(np.diff(truth.indptr))
    for first in range(0, len(tested), block):
        rows = tested[first:first + block]
        scores = user_factors[rows] @ item_factors.T
        for place, user in enumerate(rows):
            scores[place, train.indices[train.indptr[user]:train.indptr[user + 1]]] = -np.inf
        top = np.argpartition(-scores, cut, axis=1)[:, :cut]
        top = np.take_along_axis(top, np.argsort(-np.take_along_axis(scores, top, 1), axis=1), 1)
        for place, user in enumerate(rows):
            wanted = truth.indices[truth.indptr[user]:truth.indptr[user + 1]]
            hits = np.isin(top[place], wanted)
            values.append((hits * discount).sum() / discount[:min(cut, len(wanted))].sum())
    return np.mean(values)


def build(options):
    settings = {"learning_rate": options.learning_rate, "regularization": options.regularization,
                "iterations": options.epochs, "random_state": options.seed}
    if options.gpu:
        from implicit.gpu.bpr import BayesianPersonalizedRanking
        return BayesianPersonalizedRanking(factors=63, **settings)
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    return BayesianPersonalizedRanking(factors=64, num_threads=options.threads, **settings)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("train")
    parser.add_argument("truth")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--regularization", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    train, truth = matrices(options.train, options.truth)
    model = build(options)
    wall, processor = time.perf_counter(), time.process_time()
    model.fit(train, show_progress=False)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    factors = [side.to_numpy() if options.gpu else side for side in (model.user_factors, model.item_factors)]
    quality = ndcg(*factors, train, truth)
    where = "GPU" if options.gpu else f"{options.threads} threads"
    print(f"implicit bpr, 64 factors, {where}, learning rate {options.learning_rate}, "
          f"regularization {options.regularization}: {options.epochs} epochs, {wall / options.epochs:.4f} s wall and "
          f"{processor / options.epochs:.4f} s processor an epoch, ndcg@20 {quality:.5f}")


if __name__ == "__main__":
    main()
