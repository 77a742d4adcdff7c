"""Goldens of SASRec, BERT4Rec and CL4SRec: 20 Adam steps in PyTorch, one case for each loss and kind of view, and of each
model and with drawn negatives one with synthetic items that are to be predicted behind the history (targets_).

Writes sequential_recommenders.h5 beside this file: histories in order of time, and synthetic items, with a weight for every
interaction, items taken out of the softmax, and for each case the initial (one for each model) and final parameters, one behind
the other in the order of parameter_shapes(), what was drawn (users of each batch, negatives, masks, views), and the
mean unweighted losses before each step. Everything is written down from the papers, one sequence at a time, in double
precision, with autograd; it shares nothing with the C code.

    python make_sequential_recommenders.py        (needs torch, numpy, h5py)
"""
import math
import os

import h5py
import numpy as np
import torch
from torch.nn import functional

USERS, ITEMS, WIDTH, HEADS, LAYERS, LENGTH = 20, 30, 8, 2, 2, 9
BATCH, STEPS, LEARNING_RATE, DEVIATION = 5, 20, 0.01, 0.3
NEGATIVES = {"binary": 1, "binary_many": 6, "gbce": 6, "sampled_softmax": 6}
CALIBRATION, REGULARIZATION = 0.75, 0.01
CONTRAST_WEIGHT, TEMPERATURE = 0.3, 2.0


def make_data(generator):
    """Each user's items in order of time, {(user, item): weight}, and items that are excluded for him."""
    history = [generator.choice(ITEMS, size=int(size), replace=False)
               for size in generator.integers(2, LENGTH + 5, size=USERS)]
    weights = {(user, int(item)): float(generator.choice([1.0, 0.5, 0.25]))
               for user, row in enumerate(history) for item in row}
    excluded = [np.sort(generator.choice(ITEMS, size=4, replace=False)) for _ in range(USERS)]
    return history, weights, excluded


def make_targets(generator, history, weights, excluded):
    """The same data with up to three synthetic items for each user but every third, best first."""
    weights, targets = dict(weights), []
    for user, row in enumerate(history):
        free = np.setdiff1d(np.arange(ITEMS), row)
        targets.append(generator.choice(free, size=0 if user % 3 == 0 else int(generator.integers(1, 4)), replace=False))
        weights.update({(user, int(item)): float(generator.choice([1.0, 0.5, 0.25])) for item in targets[-1]})
    return history, weights, excluded, targets


def parameter_shapes(kind):
    """Names and shapes in the order in which the parameters are written."""
    causal = kind != "bert4rec"
    hidden = WIDTH if causal else 4 * WIDTH
    shapes = {"items/embedding": (ITEMS, WIDTH)}
    if kind in ("bert4rec", "cl4srec"):
        shapes["mask/embedding"] = (1, WIDTH)
    shapes["positions/embedding"] = (LENGTH, WIDTH)

    def linear(name, out, into):
        shapes[name + "/weight"], shapes[name + "/bias"] = (out, into), (out,)

    def norm(name):
        shapes[name + "/weight"] = shapes[name + "/bias"] = (WIDTH,)

    for layer in range(LAYERS):
        norm(f"block-{layer}/attention_norm")
        for name in ("query", "key", "value", "attended"):
            linear(f"block-{layer}/{name}", WIDTH, WIDTH)
        norm(f"block-{layer}/feed_norm")
        linear(f"block-{layer}/up", hidden, WIDTH)
        linear(f"block-{layer}/down", WIDTH, hidden)
    norm("norm" if causal else "embedding_norm")
    if not causal:
        linear("project", WIDTH, WIDTH)
        norm("project_norm")
        shapes["items/bias"] = (ITEMS,)
    return shapes


def initial_parameters(kind):
    """All away from their usual start, so that every one of them matters."""
    generator = np.random.default_rng(["sasrec", "bert4rec", "cl4srec"].index(kind))
    return {name: torch.tensor((generator.normal(0, DEVIATION, size=shape)
                                + (1.0 if "norm/weight" in name else 0.0)).astype(np.float32),
                               dtype=torch.float64, requires_grad=True)
            for name, shape in parameter_shapes(kind).items()}


class Encoder:
    def __init__(self, parameters, causal):
        self.parameters, self.causal = parameters, causal

    def linear(self, name, x):
        return x @ self.parameters[name + "/weight"].T + self.parameters[name + "/bias"]

    def norm(self, name, x):
        deviation = x - x.mean(dim=1, keepdim=True)
        variance = (deviation ** 2).mean(dim=1, keepdim=True)
        scaled = deviation / torch.sqrt(variance + (1e-8 if self.causal else 1e-12))
        return scaled * self.parameters[name + "/weight"] + self.parameters[name + "/bias"]

    def attention(self, block, query_input, x):
        count, head = len(x), WIDTH // HEADS
        query, key, value = (self.linear(f"{block}/{name}", source).reshape(count, HEADS, head).transpose(0, 1)
                             for name, source in (("query", query_input), ("key", x), ("value", x)))
        scores = query @ key.transpose(1, 2) / math.sqrt(head)
        if self.causal:
            scores = scores.masked_fill(torch.ones(count, count).triu(1).bool(), -math.inf)
        mixed = scores.softmax(dim=2) @ value
        return self.linear(f"{block}/attended", mixed.transpose(0, 1).reshape(count, WIDTH))

    def __call__(self, entries):
        """States of a list of entries: items, and ITEMS for the mask."""
        table = self.parameters["items/embedding"]
        if "mask/embedding" in self.parameters:
            table = torch.cat([table, self.parameters["mask/embedding"]])
        x = table[torch.tensor(entries)] * (math.sqrt(WIDTH) if self.causal else 1.0)
        x = x + self.parameters["positions/embedding"][LENGTH - len(entries):]
        if not self.causal:
            x = self.norm("embedding_norm", x)
        for layer in range(LAYERS):
            block = f"block-{layer}"
            if self.causal:
                query_input = self.norm(f"{block}/attention_norm", x)
                x = query_input + self.attention(block, query_input, x)
                x = self.norm(f"{block}/feed_norm", x)
                x = x + self.linear(f"{block}/down", torch.relu(self.linear(f"{block}/up", x)))
            else:
                x = self.norm(f"{block}/attention_norm", x + self.attention(block, x, x))
                feed = self.linear(f"{block}/down", functional.gelu(self.linear(f"{block}/up", x)))
                x = self.norm(f"{block}/feed_norm", x + feed)
        return self.norm("norm", x) if self.causal else x


def flat(parameters):
    return np.concatenate([value.detach().numpy().ravel() for value in parameters.values()]).astype(np.float32)


def softplus(x):
    return torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0)


class Case:
    """One loss, or one kind of view: draws what chance decides, and knows the loss of a batch."""

    def __init__(self, name, data, generator):
        self.history, self.weights, self.excluded, self.targets = data
        self.name, self.generator = name.removeprefix("targets_"), generator
        self.kind = self.name.split("_")[0] if self.name.startswith(("bert4rec", "cl4srec")) else "sasrec"
        self.loss = self.name if self.kind == "sasrec" else "cross_entropy"
        self.parameters = initial_parameters(self.kind)
        self.encoder = Encoder(self.parameters, causal=self.kind != "bert4rec")
        self.users = np.array([generator.choice(USERS, size=BATCH, replace=False) for _ in range(STEPS)])
        self.drawn = []

    def positives(self, user):
        return np.union1d(self.history[user], self.targets[user]).astype(int)

    def item_scores(self, user, states):
        scores = states @ self.parameters["items/embedding"].T
        if self.kind == "bert4rec":
            scores = scores + self.parameters["items/bias"]
        out = np.setdiff1d(self.excluded[user], self.positives(user))
        hidden = torch.zeros(ITEMS, dtype=torch.bool)
        hidden[out] = True
        return scores.masked_fill(hidden, -math.inf)

    def prediction_losses(self, user, states, targets):
        targets = torch.tensor(targets)
        if self.loss == "cross_entropy":
            return -self.item_scores(user, states).log_softmax(dim=1)[torch.arange(len(targets)), targets]
        allowed = np.setdiff1d(np.arange(ITEMS), self.positives(user))
        negatives = self.generator.choice(allowed, size=(len(targets), NEGATIVES[self.name]))
        self.drawn.append(negatives)
        table = self.parameters["items/embedding"]
        positive = (states * table[targets]).sum(dim=1)
        negative = torch.einsum("pw,pkw->pk", states, table[torch.tensor(negatives)])
        if self.loss == "sampled_softmax":
            both = torch.cat([positive[:, None], negative], dim=1)
            return both.logsumexp(dim=1) - positive
        power = 1.0
        if self.loss == "gbce":
            alpha = NEGATIVES[self.name] / (ITEMS - 1)
            power = alpha * (CALIBRATION * (1 - 1 / alpha) + 1 / alpha)
        prior = np.log(power / NEGATIVES[self.name])
        return power * softplus(-positive - prior) + softplus(negative + prior).sum(dim=1)

    def next_items(self, user):
        """States that predict, their targets: of the latest LENGTH items before the last one, each the next; with
        synthetic items of the latest LENGTH items, the last one these."""
        latest, targets = list(map(int, self.history[user])), list(map(int, self.targets[user]))
        if not targets:
            latest = latest[-(LENGTH + 1):]
            return self.encoder(latest[:-1]), latest[1:]
        latest = latest[-LENGTH:]
        states = self.encoder(latest)
        places = [*range(len(latest) - 1), *[len(latest) - 1 for _ in targets]]
        return states[places], latest[1:] + targets

    def masked(self, user):
        """States that predict, their targets: the latest LENGTH items, some of them masked; with synthetic items one
        item less and a mask behind, which these are to be predicted from."""
        targets = list(map(int, self.targets[user]))
        latest = list(map(int, self.history[user]))[-(LENGTH - 1 if targets else LENGTH):]
        places = np.sort(self.generator.choice(len(latest), size=max(1, len(latest) // 3), replace=False))
        self.drawn.append([int(place in places) for place in range(LENGTH)])
        entries = [ITEMS if place in places else item for place, item in enumerate(latest)]
        states = self.encoder(entries + [ITEMS] if targets else entries)
        places = [*places, *[len(latest) for _ in targets]]
        projected = functional.gelu(self.encoder.linear("project", states[places]))
        return self.encoder.norm("project_norm", projected), [latest[place] for place in places if place < len(latest)] + targets

    def view(self, user):
        entries = list(map(int, self.history[user][-(LENGTH + 1):-1]))
        kind, part = self.name.split("_")[1], len(entries) // 2
        first = int(self.generator.integers(0, len(entries) - part + 1))
        if kind == "crop":
            kept = len(entries) - part
            entries = entries[min(first, part):][:kept]
        elif kind == "mask":
            for place in self.generator.choice(len(entries), size=part, replace=False):
                entries[place] = ITEMS
        else:
            entries[first:first + part] = self.generator.permutation(entries[first:first + part]).tolist()
        self.drawn.append(entries + [-1] * (LENGTH - len(entries)))
        return self.encoder(entries)[-1]

    def contrast_losses(self, users):
        views = torch.stack([self.view(user) for user in users for _ in range(2)])
        scores = (views @ views.T / TEMPERATURE).masked_fill(torch.eye(len(views)).bool(), -math.inf)
        return -scores.log_softmax(dim=1)[torch.arange(len(views)), torch.arange(len(views)) ^ 1]

    def batch_loss(self, users):
        losses, weights = [], []
        for user in users:
            states, targets = self.masked(user) if self.kind == "bert4rec" else self.next_items(user)
            losses.append(self.prediction_losses(user, states, targets))
            weights += [self.weights[user, target] for target in targets]
        losses = torch.cat(losses)
        loss, told = (torch.tensor(weights) * losses).mean(), [losses.mean().item()]
        if self.kind == "cl4srec":
            contrast = self.contrast_losses(users).mean()
            loss, told = loss + CONTRAST_WEIGHT * contrast, told + [contrast.item()]
        if self.name == "cross_entropy":
            loss = loss + REGULARIZATION / 2 * sum(value.pow(2).sum() for value in self.parameters.values())
        return loss, told

    def train(self):
        optimizer = torch.optim.Adam(self.parameters.values(), lr=LEARNING_RATE)
        self.losses = []
        for users in self.users:
            loss, told = self.batch_loss(users)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.losses.append(told)

    def write(self, group):
        group["users"] = self.users.astype(np.int32)
        group["losses"] = np.array(self.losses)
        if self.drawn:
            group.create_dataset("drawn", compression="gzip", data=np.concatenate(
                [np.atleast_2d(part) for part in self.drawn]).astype(np.int32))
        group["final"] = flat(self.parameters)


def write_rows(file, name, rows):
    group = file.create_group(name)
    group["indptr"] = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    group["indices"] = np.concatenate(rows).astype(np.int32)
    group.attrs["rows"], group.attrs["columns"] = np.int64(USERS), np.int64(ITEMS)


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    history, weights, excluded = make_data(np.random.default_rng(20251125))
    without = history, weights, excluded, [np.array([], int)] * USERS
    with_targets = make_targets(np.random.default_rng(20261201), history, weights, excluded)
    names = ["cross_entropy", *NEGATIVES, "bert4rec", "cl4srec_crop", "cl4srec_mask", "cl4srec_reorder",
             "targets_cross_entropy", "targets_sampled_softmax", "targets_bert4rec", "targets_cl4srec_mask"]
    with h5py.File(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sequential_recommenders.h5"),
                   "w") as file:
        write_rows(file, "history", history)
        write_rows(file, "excluded", excluded)
        write_rows(file, "synthetic", with_targets[3])
        for name, (_, weights, _, targets) in (("positives", without), ("positives_with_targets", with_targets)):
            ascending = [np.union1d(*rows).astype(int) for rows in zip(history, targets)]
            write_rows(file, name, ascending)
            file[f"{name}_weights"] = np.array([weights[user, int(item)] for user, row in enumerate(ascending)
                                                for item in row], dtype=np.float32)
        for kind in ("sasrec", "bert4rec", "cl4srec"):
            file[f"{kind}_initial"] = flat(initial_parameters(kind))
        for number, name in enumerate(names):
            case = Case(name, with_targets if name.startswith("targets_") else without, np.random.default_rng(number))
            case.train()
            case.write(file.create_group(name))


if __name__ == "__main__":
    main()
