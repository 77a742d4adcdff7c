"""Goldens of SGL, SimGCL, XSimGCL and NCL: 20 Adam steps in PyTorch from the same table and batches as the C test.

Writes graph_recommenders.h5 beside this file: a random data set (40 users, 60 items, 640 weighted rows), the initial table,
the triples of an epoch of 20 batches, and for each case the mean unweighted ranking loss and the weighted contrastive loss
before each step, and the final table. The losses are written down from the papers (Wu et al. 2021, Yu et al. 2022, Yu et
al. 2024, Lin et al. 2022) with dense matrices, in double precision. What is drawn at random (dropped edges and nodes,
noise, the first centroids) is drawn here from the documented streams of Philox4x32-10 (Salmon et al. 2011). Nothing is
shared with the C code.

    python make_graph_recommenders.py        (needs torch, numpy, h5py)
"""
import os

import h5py
import numpy as np
import torch

USERS, ITEMS, ROWS, WIDTH, LAYERS, BATCH, STEPS = 40, 60, 640, 16, 3, 32, 20
LEARNING_RATE, REGULARIZATION = 0.01, 0.02
SEED, EPOCH = 1, 3
VIEW_SHARE, CONTRAST_WEIGHT, TEMPERATURE, NOISE, CONTRAST_LAYER = 0.2, 0.5, 0.2, 0.1, 1
ITEM_SHARE, PROTOTYPE_WEIGHT, CLUSTERS, ITERATIONS = 1.5, 0.3, 7, 10
NOISE_PURPOSE, VIEW_PURPOSE, CLUSTER_PURPOSE = 13, 17, 18
MOST_LAYERS = 8


# ---- random numbers -------------------------------------------------------------------------------------

def philox(counter, key):
    """Philox4x32-10 of counters [..., 4] under one key."""
    c = [np.asarray(counter)[..., word].astype(np.uint64) for word in range(4)]
    k = [key & 0xFFFFFFFF, key >> 32]
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        product0, product1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(product1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), product1 & low,
             (product0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), product0 & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, axis=-1)


def words(purpose, step, index):
    """The endless words of a stream: of every block the last first."""
    block = 0
    while True:
        yield from map(int, philox([block, index, step, purpose], SEED)[::-1])
        block += 1


def mix(value, key):
    value = ((value ^ key) * 0x85EBCA6B) & 0xFFFFFFFF
    value = ((value ^ value >> 13) * 0xC2B2AE35) & 0xFFFFFFFF
    return value ^ value >> 16


def permutation(stream, count):
    """0 .. count - 1 in random order: a Feistel network of 8 rounds over the next power of two, walked on."""
    keys = [next(stream) for _ in range(8)]
    bits = max(8, (count - 1).bit_length())
    low_bits, order = bits // 2, []
    low_mask, high_mask = (1 << low_bits) - 1, (1 << (bits - low_bits)) - 1
    for place in range(count):
        while True:
            low, high = place & low_mask, place >> low_bits
            for turn in range(0, 8, 2):
                high = (high ^ mix(low, keys[turn])) & high_mask
                low = (low ^ mix(high, keys[turn + 1])) & low_mask
            place = high << low_bits | low
            if place < count:
                break
        order.append(place)
    return np.array(order)


def kept(stream, count):
    return permutation(stream, count) < count - int(VIEW_SHARE * count)


def noise_directions(step, site):
    """[nodes, WIDTH] uniform on (0, 1], rows scaled to unit length. Column c < 16 is the first word of block c."""
    nodes = USERS + ITEMS
    counter = np.zeros((nodes, WIDTH, 4), np.uint64)
    counter[..., 0] = np.arange(WIDTH)
    counter[..., 1] = np.arange(nodes)[:, None]
    counter[..., 2] = step
    counter[..., 3] = NOISE_PURPOSE | site << 8
    uniform = ((philox(counter, SEED)[..., 0] >> np.uint64(8)).astype(np.float64) + 1) / 2 ** 24
    return torch.tensor(uniform / np.linalg.norm(uniform, axis=1, keepdims=True))


# ---- data -----------------------------------------------------------------------------------------------

def make_data(generator):
    """Users and items of the rows, by user and item ascending, and a weight for every row."""
    sizes = generator.integers(6, 26, size=USERS // 2)
    sizes = np.concatenate([sizes, 2 * ROWS // USERS - sizes])
    users = np.repeat(np.arange(USERS), sizes)
    items = np.concatenate([np.sort(generator.choice(ITEMS, size=size, replace=False)) for size in sizes])
    return users, items, generator.choice([1.0, 0.5, 0.3], size=ROWS).astype(np.float32)


def make_triples(generator, users, items, weights):
    """[STEPS, BATCH] users, positives, negatives and weights: every row once."""
    order = generator.permutation(ROWS).reshape(STEPS, BATCH)
    negatives = np.empty_like(order)
    for place in np.ndindex(order.shape):
        own = items[users == users[order[place]]]
        negatives[place] = generator.choice(np.setdiff1d(np.arange(ITEMS), own))
    return users[order], items[order], negatives, weights[order]


def adjacency(users, items, weights):
    """D^-1/2 A D^-1/2 of the weighted bipartite graph, dense."""
    matrix = np.zeros((USERS, ITEMS))
    matrix[users, items] = weights
    graph = np.block([[np.zeros((USERS, USERS)), matrix], [matrix.T, np.zeros((ITEMS, ITEMS))]])
    degree = graph.sum(axis=1)
    root = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0)
    return torch.tensor(root[:, None] * graph * root[None, :])


# ---- losses ---------------------------------------------------------------------------------------------

def unit(rows):
    return torch.nn.functional.normalize(rows, dim=1)


def info_nce(a, b, right):
    """-log softmax of cosines over temperature, at the right rows of b."""
    return -torch.log_softmax(unit(a) @ unit(b).T / TEMPERATURE, dim=1)[torch.arange(len(a)), right]


def paired(a, b):
    return info_nce(a, b, torch.arange(len(a))).mean()


def layers_of(graphs, table, perturb=lambda layer, rows: rows):
    layers = [table]
    for layer, graph in enumerate(graphs):
        layers.append(perturb(layer, graph @ layers[-1]))
    return layers


def mean(layers):
    return torch.stack(layers).mean(dim=0)


def sides(users, positives):
    """The batch's users and items, each once, as rows of the table."""
    return torch.tensor(np.unique(users)), torch.tensor(np.unique(positives) + USERS)


def noisy(step, site):
    def perturb(layer, rows):
        return rows + torch.sign(rows) * NOISE * noise_directions(step, site + layer)
    return perturb


class SGL:
    def __init__(self, data, view):
        users, items, weights = data
        self.full = [adjacency(*data)] * LAYERS
        self.views = []
        for number in range(2):
            graphs = []
            for layer in range(LAYERS if view == "random_walk" else 1):
                stream = words(VIEW_PURPOSE, EPOCH, number * MOST_LAYERS + layer)
                if view == "node_drop":
                    users_kept, items_kept = kept(stream, USERS), kept(stream, ITEMS)
                    keep = users_kept[users] & items_kept[items]
                else:
                    keep = kept(stream, ROWS)
                graphs.append(adjacency(users, items, weights * keep))
            self.views.append(graphs if len(graphs) == LAYERS else graphs * LAYERS)

    def __call__(self, table, step, users, positives):
        nodes = torch.cat(sides(users, positives))
        first, second = (mean(layers_of(graphs, table))[nodes] for graphs in self.views)
        return mean(layers_of(self.full, table)), CONTRAST_WEIGHT * paired(first, second)


class SimGCL:
    def __init__(self, data):
        self.graphs = [adjacency(*data)] * LAYERS

    def __call__(self, table, step, users, positives):
        first, second = (mean(layers_of(self.graphs, table, noisy(step, view * MOST_LAYERS))[1:]) for view in range(2))
        contrast = sum(paired(first[side], second[side]) for side in sides(users, positives))
        return mean(layers_of(self.graphs, table)[1:]), CONTRAST_WEIGHT * contrast


class XSimGCL(SimGCL):
    def __call__(self, table, step, users, positives):
        layers = layers_of(self.graphs, table, noisy(step, 0))
        final = mean(layers[1:])
        contrast = sum(paired(final[side], layers[CONTRAST_LAYER][side]) for side in sides(users, positives))
        return final, CONTRAST_WEIGHT * contrast


def nearest(points, centroids):
    distances = np.linalg.norm(points[:, None] - centroids[None], axis=2)
    two = np.sort(distances, axis=1)
    assert (two[:, 1] - two[:, 0]).min() > 1e-5, "a point lies between two centroids: take another start"
    return distances.argmin(axis=1)


def k_means(points, side):
    centroids = points[permutation(words(CLUSTER_PURPOSE, EPOCH, side), len(points))[:CLUSTERS]]
    for _ in range(ITERATIONS):
        owner = nearest(points, centroids)
        centroids = np.stack([points[owner == cluster].mean(axis=0) for cluster in range(CLUSTERS)])
    return torch.tensor(centroids), torch.tensor(nearest(points, centroids))


class NCL:
    def __init__(self, data, initial):
        self.graphs = [adjacency(*data)] * LAYERS
        self.clusters = [k_means(points.astype(np.float64), side)
                         for side, points in enumerate((initial[:USERS], initial[USERS:]))]

    def __call__(self, table, step, users, positives):
        layers = layers_of(self.graphs, table)
        both = zip((torch.tensor(users), torch.tensor(positives)), (slice(0, USERS), slice(USERS, None)),
                   (1, ITEM_SHARE), self.clusters)
        contrast = 0
        for members, side, share, (centroids, owner) in both:
            structure = info_nce(layers[2 * CONTRAST_LAYER][side][members], table[side], members).mean()
            prototypes = info_nce(table[side][members], centroids, owner[members]).mean()
            contrast = contrast + CONTRAST_WEIGHT * share * structure + PROTOTYPE_WEIGHT * prototypes
        return mean(layers), contrast


def train(initial, triples, model):
    table = torch.tensor(initial.astype(np.float64), requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=LEARNING_RATE)
    rankings, contrasts = [], []
    for step, (users, positives, negatives, weights) in enumerate(zip(*triples)):
        final, contrast = model(table, step, users, positives)
        rows = [torch.tensor(part) for part in (users, positives + USERS, negatives + USERS)]
        margin = (final[rows[0]] * (final[rows[2]] - final[rows[1]])).sum(dim=1)
        ranking = torch.nn.functional.softplus(margin)
        squares = sum(table[part].pow(2).sum() for part in rows)
        loss = (torch.tensor(weights) * ranking).mean() + REGULARIZATION * squares / (2 * BATCH) + contrast
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rankings.append(ranking.mean().item())
        contrasts.append(contrast.item())
    return np.array(rankings), np.array(contrasts), table.detach().numpy()


def main():
    torch.set_num_threads(1)
    generator = np.random.default_rng(20220425)
    data = make_data(generator)
    triples = make_triples(generator, *data)
    initial = generator.normal(0, 0.1, size=(USERS + ITEMS, WIDTH)).astype(np.float32)
    cases = {view: SGL(data, view) for view in ("edge_drop", "node_drop", "random_walk")}
    cases |= {"simgcl": SimGCL(data), "xsimgcl": XSimGCL(data), "ncl": NCL(data, initial)}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "graph_recommenders.h5")
    with h5py.File(path, "w") as file:
        positives = file.create_group("positives")
        positives["indptr"] = np.searchsorted(data[0], np.arange(USERS + 1)).astype(np.int64)
        positives["indices"] = data[1].astype(np.int32)
        positives.attrs["rows"], positives.attrs["columns"] = np.int64(USERS), np.int64(ITEMS)
        file["weights"] = data[2]
        file["initial"] = initial
        for name, part in zip(("users", "positives", "negatives"), triples):
            file[f"triples/{name}"] = part.astype(np.int32)
        file["triples/weights"] = triples[3]
        for name, model in cases.items():
            rankings, contrasts, table = train(initial, triples, model)
            file[f"{name}/ranking"], file[f"{name}/contrast"] = rankings, contrasts
            file[f"{name}/table"] = table.astype(np.float32)


if __name__ == "__main__":
    main()
