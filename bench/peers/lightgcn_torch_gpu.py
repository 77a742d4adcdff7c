"""LightGCN and BPR-MF as one writes them in PyTorch, from the papers' equations: what bench_recommenders is held against.

    python lightgcn_torch_gpu.py TRAIN TEST [--device cuda] [--layers 3] [--epochs 3] [--batch 2048] [...]

TRAIN and TEST hold `user item item ...` lines with ids from 0, gzip'ed or not. E(l+1) = D^-1/2 A D^-1/2 E(l) by torch's
sparse product, final embeddings the mean over layers 0 .. L (He et al., SIGIR 2020), BPR loss with an L2 penalty on the
batch's own rows, Adam; --layers 0 is matrix factorisation (Rendle et al., UAI 2009). Triples are drawn on the device, a
negative that is a positive is drawn again. Needs torch and numpy. Prints the median epoch after one that is not counted,
then the full ranking of all test users, recall@20 and ndcg@20.
"""
import argparse
import gzip
import statistics
import time

import numpy
import torch

CUT = 20


def read_pairs(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt") as file:
        rows = [[int(number) for number in line.split()] for line in file]
    users = numpy.repeat([row[0] for row in rows], [len(row) - 1 for row in rows])
    items = numpy.array([item for row in rows for item in row[1:]], dtype=numpy.int64)
    return torch.from_numpy(users.astype(numpy.int64)), torch.from_numpy(items)


class Interactions:
    def __init__(self, train_path, test_path, device):
        train, test = read_pairs(train_path), read_pairs(test_path)
        self.users, self.items = (int(torch.cat((train[side], test[side])).max()) + 1 for side in (0, 1))
        self.train = tuple(side.to(device) for side in train)
        self.test = tuple(side.to(device) for side in test)
        self.keys = torch.sort(self.train[0] * self.items + self.train[1]).values

    def is_positive(self, users, items):
        keys = users * self.items + items
        places = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return self.keys[places] == keys

    def triples(self):
        order = torch.randperm(len(self.train[0]), device=self.keys.device)
        users, positives = self.train[0][order], self.train[1][order]
        negatives = torch.randint(self.items, users.shape, device=users.device)
        again = self.is_positive(users, negatives)
        while bool(again.any()):
            negatives = torch.where(again, torch.randint(self.items, users.shape, device=users.device), negatives)
            again = self.is_positive(users, negatives)
        return users, positives, negatives

    def adjacency(self):
        rows = torch.cat((self.train[0], self.train[1] + self.users))
        columns = torch.cat((self.train[1] + self.users, self.train[0]))
        size = self.users + self.items
        scale = torch.bincount(rows, minlength=size).clamp(min=1).double().rsqrt()
        values = (scale[rows] * scale[columns]).float()
        return torch.sparse_coo_tensor(torch.stack((rows, columns)), values, (size, size)).coalesce().to_sparse_csr()


class Model(torch.nn.Module):
    def __init__(self, interactions, width, layers):
        super().__init__()
        self.users, self.layers = interactions.users, layers
        self.graph = interactions.adjacency() if layers else None
        self.table = torch.nn.Parameter(
            0.1 * torch.randn(interactions.users + interactions.items, width, device=interactions.keys.device))

    def forward(self):
        final = layer = self.table
        for _ in range(self.layers):
            layer = self.graph @ layer
            final = final + layer
        return final / (self.layers + 1)

    def loss(self, users, positives, negatives, regularization):
        final, rows = self(), torch.stack((users, positives + self.users, negatives + self.users))
        user, positive, negative = final[rows]
        ranking = torch.nn.functional.softplus((user * negative).sum(1) - (user * positive).sum(1)).mean()
        return ranking + regularization * self.table[rows].square().sum() / (2 * len(users))


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def train_epoch(model, optimizer, interactions, options):
    triples = interactions.triples()
    for part in zip(*(side.split(options.batch) for side in triples)):
        loss = model.loss(*part, options.regularization)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return loss


def rank(final, interactions, block=1024):
    """The top CUT items of each test user, train items hidden, and whether each is a hit."""
    users, items = final[:interactions.users], final[interactions.users:]
    tested = torch.unique(interactions.test[0])
    firsts = torch.arange(interactions.users + 1, device=users.device) * interactions.items
    starts = torch.searchsorted(interactions.keys, firsts)
    hidden, tops = interactions.keys % interactions.items, []
    for part in tested.split(block):
        scores = users[part] @ items.T
        counts = starts[part + 1] - starts[part]
        rows = torch.repeat_interleave(torch.arange(len(part), device=part.device), counts)
        offsets = torch.arange(len(rows), device=part.device) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        scores[rows, hidden[starts[part][rows] + offsets]] = -torch.inf
        tops.append(scores.topk(CUT).indices)
    return tested, torch.cat(tops)


def metrics(tested, top, interactions):
    keys = torch.sort(interactions.test[0] * interactions.items + interactions.test[1]).values
    wanted = tested[:, None] * interactions.items + top
    places = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    hits = (keys[places] == wanted).double()
    truth = torch.bincount(interactions.test[0], minlength=interactions.users)[tested]
    discount = 1 / torch.log2(torch.arange(2, CUT + 2, device=top.device).double())
    ideal = discount.cumsum(0)[truth.clamp(max=CUT) - 1]
    return float((hits.sum(1) / truth).mean()), float(((hits * discount).sum(1) / ideal).mean())


def seconds_of(work, device):
    wait(device)
    started = time.perf_counter()
    result = work()
    wait(device)
    return time.perf_counter() - started, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name, value in dict(layers=3, width=64, batch=2048, epochs=3, seed=1).items():
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--regularization", type=float, default=1e-4)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    interactions = Interactions(options.train, options.test, device)
    model = Model(interactions, options.width, options.layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate)
    sampling = statistics.median(seconds_of(interactions.triples, device)[0] for _ in range(3))
    epochs = [seconds_of(lambda: train_epoch(model, optimizer, interactions, options), device)
              for _ in range(options.epochs + 1)][1:]
    with torch.no_grad():
        final = model()
        ranking = statistics.median(seconds_of(lambda: rank(final, interactions), device)[0] for _ in range(3))
        recall, ndcg = metrics(*rank(final, interactions), interactions)
    name = f"LightGCN, {options.layers} layers" if options.layers else "BPR-MF"
    print(f"torch {torch.__version__} on {device}: {name}, width {options.width}, batch {options.batch}: epoch "
          f"{statistics.median(seconds for seconds, _ in epochs):.4f} s of which sampling {sampling:.4f} s, full ranking "
          f"{ranking:.4f} s, after {options.epochs + 1} epochs loss {float(epochs[-1][1].detach()):.5f}, recall@{CUT} "
          f"{recall:.5f}, ndcg@{CUT} {ndcg:.5f}")


if __name__ == "__main__":
    main()
