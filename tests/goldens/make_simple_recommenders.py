"""Goldens of the recommenders without epochs: their scores by dense matrices, from the equations of the papers.

Writes simple_recommenders.h5 beside this file: a random data set (50 users, 60 items in four groups, weighted rows, one
user without a row and one item without a user) and the scores [users, items] of EASE (Steck 2019), SLIM (Ning and Karypis
2011, solved by accelerated proximal gradients), implicit ALS (Hu et al. 2008, three sweeps from the initial items in the
file), GF-CF (Shen et al. 2021, by a dense singular value decomposition), and of item neighbourhoods. It shares nothing
with the C code.

    python make_simple_recommenders.py        (needs numpy, h5py)
"""
import os

import h5py
import numpy as np

USERS, ITEMS, GROUPS = 50, 60, 4
EASE_REGULARIZATION = 3.0
SLIM_REGULARIZATION, SLIM_L1, SLIM_NEIGHBORS = 0.5, 0.1, 12
ALS_WIDTH, ALS_REGULARIZATION, ALS_CONFIDENCE, ALS_SWEEPS = 8, 0.1, 5.0, 3
LOW_PASS_WEIGHT = 0.3
NEIGHBORS, SHRINKAGE = 10, 1.5


def make_data(generator):
    """X [users, items]: weights in float32; user 7 and item 11 have nothing."""
    same_group = np.arange(USERS)[:, None] % GROUPS == np.arange(ITEMS)[None, :] % GROUPS
    present = generator.random((USERS, ITEMS)) < np.where(same_group, 0.6, 0.04)
    present[7, :] = False
    present[:, 11] = False
    weights = generator.uniform(0.2, 1.0, size=(USERS, ITEMS)).astype(np.float32)
    return np.where(present, weights, 0).astype(np.float64)


def ease(x):
    p = np.linalg.inv(x.T @ x + EASE_REGULARIZATION * np.eye(ITEMS))
    b = -p / np.diag(p)[None, :]
    np.fill_diagonal(b, 0)
    return x @ b


def slim(x, neighbors):
    """min 1/2 |x_j - X w|^2 + a/2 |w|^2 + l |w|_1 over w >= 0 with w_j = 0, by FISTA with restarts."""
    gram = x.T @ x
    norms = np.sqrt(np.diag(gram))
    weights = np.zeros((ITEMS, ITEMS))
    for item in range(ITEMS):
        allowed = np.flatnonzero(gram[:, item] > 0)
        allowed = allowed[allowed != item]
        cosine = gram[allowed, item] / (norms[allowed] * norms[item])
        allowed = allowed[np.argsort(-cosine)[:neighbors]] if neighbors else allowed
        if len(allowed) == 0:
            continue
        g, c = gram[np.ix_(allowed, allowed)], gram[allowed, item]
        step = 1 / (np.linalg.eigvalsh(g)[-1] + SLIM_REGULARIZATION)
        w = y = np.zeros(len(allowed))
        momentum = 1.0
        for _ in range(100000):
            gradient = g @ y - c + SLIM_REGULARIZATION * y + SLIM_L1
            following = np.maximum(0, y - step * gradient)
            moved = np.abs(following - w).max()
            next_momentum = (1 + np.sqrt(1 + 4 * momentum ** 2)) / 2
            if gradient @ (following - w) > 0:
                next_momentum, momentum = 1.0, 1.0
            y = following + (momentum - 1) / next_momentum * (following - w)
            w, momentum = following, next_momentum
            if moved < 1e-14:
                break
        weights[allowed, item] = w
    return x @ weights


def als(x, items):
    def solve(rows, others):
        solved = np.zeros((len(rows), ALS_WIDTH))
        for place, row in enumerate(rows):
            confidence = 1 + ALS_CONFIDENCE * row
            matrix = others.T @ (confidence[:, None] * others) + ALS_REGULARIZATION * np.eye(ALS_WIDTH)
            solved[place] = np.linalg.solve(matrix, others.T @ (confidence * (row > 0)))
        return solved

    for _ in range(ALS_SWEEPS):
        users = solve(x, items)
        items = solve(x.T, users)
    return users @ items.T


def gf_cf(x):
    user_sums, item_sums = x.sum(axis=1), x.sum(axis=0)
    inverse_root = [np.where(s > 0, 1 / np.sqrt(np.where(s > 0, s, 1)), 0) for s in (user_sums, item_sums)]
    r = inverse_root[0][:, None] * x * inverse_root[1][None, :]
    _, values, vectors = np.linalg.svd(r)
    assert (values[GROUPS] / values[GROUPS - 1]) ** 60 < 1e-8, "the leading subspace is not well separated"
    u = vectors[:GROUPS].T
    low_pass = inverse_root[1][:, None] * (u @ u.T) * np.sqrt(item_sums)[None, :]
    return x @ (r.T @ r) + LOW_PASS_WEIGHT * x @ low_pass


def neighborhood(x, similarity):
    similarity = similarity.copy()
    np.fill_diagonal(similarity, 0)
    for target in range(ITEMS):
        similarity[np.argsort(-similarity[:, target])[NEIGHBORS:], target] = 0
    return x @ similarity


def cosine_of(x):
    norms = np.linalg.norm(x, axis=0)
    return x.T @ x / (norms[:, None] * norms[None, :] + SHRINKAGE)


def dice(x):
    minima = np.minimum(x[:, :, None], x[:, None, :]).sum(axis=0)
    sums = x.sum(axis=0)
    return neighborhood(x, 2 * minima / (sums[:, None] + sums[None, :] + SHRINKAGE))


def rarity(x):
    return np.log(ITEMS / (1 + (x > 0).sum(axis=1)))


def tf_idf(x):
    return neighborhood(x, cosine_of(np.sqrt(x) * rarity(x)[:, None]))


def bm25(x, k=1.2, b=0.75):
    length = x.sum(axis=0)
    weighted = x * (k + 1) / (x + k * (1 - b + b * length / length.mean())[None, :]) * rarity(x)[:, None]
    return neighborhood(x, weighted.T @ weighted)


def main():
    generator = np.random.default_rng(20240711)
    x = make_data(generator)
    initial_items = generator.normal(0, 0.1, size=(ITEMS, ALS_WIDTH))
    scores = {"ease": ease(x), "slim": slim(x, 0), "slim_neighbors": slim(x, SLIM_NEIGHBORS),
              "als": als(x, initial_items), "gf_cf": gf_cf(x), "dice": dice(x), "tf_idf": tf_idf(x), "bm25": bm25(x)}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "simple_recommenders.h5")
    with h5py.File(path, "w") as file:
        positives = file.create_group("positives")
        present = x > 0
        positives["indptr"] = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int64)
        positives["indices"] = np.nonzero(present)[1].astype(np.int32)
        positives.attrs["rows"], positives.attrs["columns"] = np.int64(USERS), np.int64(ITEMS)
        file["weights"] = x[present].astype(np.float32)
        file["initial_items"] = initial_items
        for name, values in scores.items():
            file[f"scores/{name}"] = values.astype(np.float32)


if __name__ == "__main__":
    main()
