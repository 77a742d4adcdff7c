"""Goldens of BPR-MF and LightGCN: 50 Adam steps in PyTorch from the same tables and batches as the C test.

Writes recommenders.h5 beside this file: a random data set (40 users, 60 items, weighted rows), the initial table,
the triples of every batch, and for each model the mean unweighted ranking loss before each step and the final
table. The loss is written down from the papers (BPR: Rendle et al. 2009; LightGCN: He et al. 2020) with dense
matrices; it shares nothing with the C code.

    python make_recommenders.py        (needs torch, numpy, h5py)
"""
import os

import h5py
import numpy as np
import torch

USERS, ITEMS, WIDTH, LAYERS, BATCH, STEPS = 40, 60, 16, 3, 32, 50
LEARNING_RATE, REGULARIZATION = 0.01, 0.02


def make_data(generator):
    """Rows of each user's items, ascending, and a weight for every row."""
    rows = [np.sort(generator.choice(ITEMS, size=int(size), replace=False))
            for size in generator.integers(2, 15, size=USERS)]
    weights = generator.choice([1.0, 0.5, 0.3], size=sum(map(len, rows))).astype(np.float32)
    return rows, weights


def make_triples(generator, rows, weights):
    """[STEPS, BATCH] users, positives, negatives and the weights of the positives."""
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    owner = np.repeat(np.arange(USERS), [len(row) for row in rows])
    index = generator.integers(0, starts[-1], size=(STEPS, BATCH))
    users = owner[index]
    positives = np.concatenate(rows)[index]
    negatives = np.empty_like(positives)
    for place in np.ndindex(negatives.shape):
        allowed = np.setdiff1d(np.arange(ITEMS), rows[users[place]])
        negatives[place] = generator.choice(allowed)
    return users, positives, negatives, weights[index]


def normalized_adjacency(rows, weights):
    """D^-1/2 A D^-1/2 of the weighted bipartite graph, dense."""
    matrix = np.zeros((USERS, ITEMS))
    matrix[np.repeat(np.arange(USERS), [len(row) for row in rows]), np.concatenate(rows)] = weights
    adjacency = np.block([[np.zeros((USERS, USERS)), matrix], [matrix.T, np.zeros((ITEMS, ITEMS))]])
    degree = adjacency.sum(axis=1)
    root = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0)
    return torch.tensor(root[:, None] * adjacency * root[None, :], dtype=torch.float32)


def train(initial, triples, propagate):
    table = torch.tensor(initial, requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=LEARNING_RATE)
    losses = []
    for users, positives, negatives, weights in zip(*triples):
        users, positives, negatives = (torch.tensor(part) for part in (users, positives + USERS, negatives + USERS))
        final = propagate(table)
        margin = (final[users] * (final[negatives] - final[positives])).sum(dim=1)
        ranking = torch.nn.functional.softplus(margin)
        squares = sum(table[part].pow(2).sum() for part in (users, positives, negatives))
        loss = (torch.tensor(weights) * ranking).mean() + REGULARIZATION * squares / (2 * BATCH)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(ranking.mean().item())
    return np.array(losses), table.detach().numpy()


def main():
    torch.set_num_threads(1)
    generator = np.random.default_rng(20240607)
    rows, weights = make_data(generator)
    triples = make_triples(generator, rows, weights)
    initial = generator.normal(0, 0.1, size=(USERS + ITEMS, WIDTH)).astype(np.float32)
    adjacency = normalized_adjacency(rows, weights)

    def lightgcn(table):
        layers = [table]
        for _ in range(LAYERS):
            layers.append(adjacency @ layers[-1])
        return torch.stack(layers).mean(dim=0)

    results = {"bpr_mf": train(initial, triples, lambda table: table),
               "lightgcn": train(initial, triples, lightgcn)}
    with h5py.File(os.path.join(os.path.dirname(os.path.abspath(__file__)), "recommenders.h5"), "w") as file:
        positives = file.create_group("positives")
        positives["indptr"] = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        positives["indices"] = np.concatenate(rows).astype(np.int32)
        positives.attrs["rows"], positives.attrs["columns"] = np.int64(USERS), np.int64(ITEMS)
        file["weights"] = weights
        file["initial"] = initial
        for name, part in zip(("users", "positives", "negatives"), triples):
            file[f"triples/{name}"] = part.astype(np.int32)
        file["triples/weights"] = triples[3]
        for name, (losses, table) in results.items():
            file[f"{name}/losses"] = losses.astype(np.float64)
            file[f"{name}/table"] = table


if __name__ == "__main__":
    main()
