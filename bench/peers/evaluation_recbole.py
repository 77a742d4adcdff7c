"""Seconds of RecBole's full-sort evaluation on the CPU, with the embeddings of a model.h5 of ours.

    python evaluation_recbole.py TRAIN TEST MODEL.h5 [--threads N] [--block USERS]

TRAIN and TEST hold `user item item ...` lines, the files that MODEL.h5 was trained on. Needs recbole, torch, h5py, pandas.
Prints wall and processor seconds of Trainer.evaluate() over all users: recall@20 and ndcg@20, train items hidden.
"""
import argparse
import functools
import os
import sys
import tempfile
import time
import types

import h5py
import numpy as np
import torch

# RecBole 1.2.1 imports ray for its tuner and names that NumPy 2 has dropped.
sys.modules.setdefault("ray", types.ModuleType("ray"))
for name, kind in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "bool8": np.bool_}.items():
    if not hasattr(np, name):
        setattr(np, name, kind)
torch.load = functools.partial(torch.load, weights_only=False)

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import BPR
from recbole.trainer import Trainer


def pairs(path):
    for line in open(path):
        user, *items = line.split()
        for item in items:
            yield user, item


def write_atomic(folder, train, test):
    """Atomic files of a split that is given; validation is a copy of test, for RecBole asks for one."""
    os.makedirs(os.path.join(folder, "set"))
    for part, path in (("train", train), ("valid", test), ("test", test)):
        with open(os.path.join(folder, "set", f"set.{part}.inter"), "w") as file:
            file.write("user_id:token\titem_id:token\n")
            file.writelines(f"{user}\t{item}\n" for user, item in pairs(path))


def load_embeddings(model, dataset, train, test, path):
    """Our ids count first appearances in train, then test; RecBole's follow its own map of the same tokens."""
    users, items = {}, {}
    for part in (train, test):
        for user, item in pairs(part):
            users.setdefault(user, len(users))
            items.setdefault(item, len(items))
    with h5py.File(path) as file, torch.no_grad():
        for field, ids, name, layer in (("user_id", users, "users", model.user_embedding),
                                        ("item_id", items, "items", model.item_embedding)):
            table = file[f"{name}/embedding"][:]
            tokens = dataset.field2id_token[field][1:]
            layer.weight[1:] = torch.from_numpy(table[[ids[token] for token in tokens]])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--block", type=int, default=100, help="users scored at a time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        write_atomic(folder, options.train, options.test)
        config = Config(model="BPR", dataset="set", config_dict={
            "data_path": folder, "benchmark_filename": ["train", "valid", "test"], "use_gpu": False,
            "load_col": {"inter": ["user_id", "item_id"]}, "metrics": ["Recall", "NDCG"], "topk": [20],
            "valid_metric": "NDCG@20", "metric_decimal_place": 6, "show_progress": False, "embedding_size": 64,
            "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "order": "RO", "mode": "full"},
            "eval_batch_size": options.block * 41000, "checkpoint_dir": folder})
        dataset = create_dataset(config)
        train_data, _, test_data = data_preparation(config, dataset)
        # The copy of test that stands for validation must not be hidden: only train items are.
        model = BPR(config, train_data.dataset)
        load_embeddings(model, dataset, options.train, options.test, options.model)
        trainer = Trainer(config, model)
        for _ in range(2):
            wall, processor = time.perf_counter(), time.process_time()
            result = trainer.evaluate(test_data, load_best_model=False)
            print(f"RecBole full-sort evaluation, {options.threads} threads: {time.perf_counter() - wall:.2f} s wall, "
                  f"{time.process_time() - processor:.2f} s processor, {dict(result)}", flush=True)


if __name__ == "__main__":
    main()
