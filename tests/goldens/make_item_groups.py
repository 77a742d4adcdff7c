"""Goldens of collaborative indexing: partitions and normalised cuts that scikit-learn's SpectralClustering finds.

Writes item_groups.h5 beside this file:
    planted_N     random interactions (train: a CSR matrix) of users who keep to a block of items, where scikit-learn finds the
                  blocks exactly (checked here); group [items]: the block of each item; cut: the normalised cut.
    nested        the same with three blocks of three parts each; path [items, 2]: block and part as scikit-learn finds them when
                  it is asked for 3 groups, and for 3 in each of these.
    ml-100k       of all 100,000 rows of MovieLens 100K: clusters [cases] and cut [cases], the smallest normalised cut that
                  scikit-learn reaches with any of its three ways to assign labels.
Nothing is shared with the C code: the graph is a dense matrix here, and the normalised cut is written down from Shi and Malik.

    python make_item_groups.py ml-100k.inter.gz        (needs numpy, h5py, scikit-learn)
"""
import gzip
import os
import sys
import warnings

import h5py
import numpy as np
from sklearn.cluster import SpectralClustering

PLANTED = [([30, 30, 30], 90, 0.7, 0.02), ([12, 40, 25, 60], 200, 0.5, 0.03), ([300, 150, 200, 100, 90], 900, 0.15, 0.004)]
NESTED_BLOCK, NESTED_USERS = 30, 450
ML_100K_CLUSTERS = [2, 5, 10, 20, 30]


def affinity(matrix):
    """How many users have both items; no item has an edge to itself."""
    shared = matrix.T.astype(float) @ matrix
    np.fill_diagonal(shared, 0)
    return shared


def normalized_cut(shared, label):
    degree = shared.sum(1)
    return sum(1 - shared[np.ix_(label == group, label == group)].sum() / degree[label == group].sum()
               for group in np.unique(label))


def cluster(shared, groups, assign):
    return SpectralClustering(groups, affinity="precomputed", assign_labels=assign, random_state=0).fit(shared).labels_


def same_partition(a, b):
    pairs = set(zip(a, b))
    return len(pairs) == len(set(a)) == len(set(b))


def write_csr(file, name, matrix):
    group = file.create_group(name)
    group["indptr"] = np.concatenate([[0], np.cumsum(matrix.sum(1))]).astype(np.int64)
    group.create_dataset("indices", data=np.nonzero(matrix)[1].astype(np.int32), compression="gzip", shuffle=True)
    group.attrs["rows"], group.attrs["columns"] = np.int64(matrix.shape[0]), np.int64(matrix.shape[1])


def planted(file, name, sizes, users, inside, outside, random):
    block = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    at_home = random.integers(len(sizes), size=users)[:, None] == block
    matrix = random.random(at_home.shape) < np.where(at_home, inside, outside)
    shared = affinity(matrix)
    for assign in ["kmeans", "cluster_qr"]:
        assert same_partition(cluster(shared, len(sizes), assign), block), (name, assign)
    write_csr(file, name + "/train", matrix)
    file[name + "/group"] = block.astype(np.int32)
    file[name].attrs["cut"] = normalized_cut(shared, block)


def nested(file, random):
    block = random.permutation(np.repeat(np.arange(9), NESTED_BLOCK))
    home = random.integers(9, size=NESTED_USERS)[:, None]
    chance = np.where(home == block, 0.5, np.where(home // 3 == block // 3, 0.08, 0.004))
    matrix = random.random(chance.shape) < chance
    path = np.zeros((len(block), 2), np.int32)
    path[:, 0] = cluster(affinity(matrix), 3, "kmeans")
    assert same_partition(path[:, 0], block // 3)
    for group in range(3):
        inside = path[:, 0] == group
        path[inside, 1] = cluster(affinity(matrix[:, inside]), 3, "kmeans")
        assert same_partition(path[inside, 1], block[inside])
    write_csr(file, "nested/train", matrix)
    file["nested/path"] = path


def ml_100k(file, path):
    rows = [line.split("\t")[:2] for line in gzip.open(path, "rt").read().splitlines()[1:]]
    users, items = {}, {}
    matrix = np.zeros((943, 1682), bool)
    for user, item in rows:
        matrix[users.setdefault(user, len(users)), items.setdefault(item, len(items))] = True
    shared = affinity(matrix)
    assert (shared.sum(1) > 0).all()
    cuts = [min(normalized_cut(shared, cluster(shared, groups, assign))
                for assign in ["kmeans", "cluster_qr", "discretize"]) for groups in ML_100K_CLUSTERS]
    file["ml-100k/clusters"] = np.array(ML_100K_CLUSTERS, np.int32)
    file["ml-100k/cut"] = np.array(cuts, np.float32)
    print("ml-100k", dict(zip(ML_100K_CLUSTERS, cuts)))


def main():
    warnings.filterwarnings("ignore", message="Graph is not fully connected")
    random = np.random.default_rng(1)
    with h5py.File(os.path.join(os.path.dirname(os.path.abspath(__file__)), "item_groups.h5"), "w") as file:
        for number, (sizes, users, inside, outside) in enumerate(PLANTED):
            planted(file, f"planted_{number}", sizes, users, inside, outside, random)
        nested(file, random)
        ml_100k(file, sys.argv[1])


if __name__ == "__main__":
    main()
