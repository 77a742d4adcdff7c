"""Seconds of LightGCN-PyTorch's training steps on the CPU: its own model, loss, optimizer and sampler.

    LIGHTGCN_PYTORCH=checkout python lightgcn_pytorch.py TRAIN TEST [--steps N] [--threads N]

The checkout is github.com/gusye1234/LightGCN-PyTorch; TRAIN and TEST hold `user item item ...` lines with ids from 0.
Needs torch, numpy, scipy, scikit-learn; cppimport and pybind11 for its fast sampler. 3 layers, width 64, batch 2048,
its defaults. Prints seconds of sampling an epoch, of a step, and of an epoch put together from the two.
"""
import argparse
import os
import sys
import tempfile
import time

import numpy as np
import scipy.sparse
import torch


def adjacency(train_path, test_path):
    """What its Loader would build over minutes and store: D^-1/2 A D^-1/2."""
    rows = [list(map(int, line.split())) for line in open(train_path)]
    users = np.repeat([row[0] for row in rows], [len(row) - 1 for row in rows])
    items = np.concatenate([row[1:] for row in rows])
    shape = [max(int(column) for path in (train_path, test_path) for line in open(path)
                 for column in part(line.split())) + 1 for part in (lambda r: r[:1], lambda r: r[1:])]
    matrix = scipy.sparse.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=shape)
    graph = scipy.sparse.bmat([[None, matrix], [matrix.T, None]]).tocsr()
    degree = np.asarray(graph.sum(axis=1)).ravel()
    root = scipy.sparse.diags(np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0))
    return (root @ graph @ root).tocsr().astype(np.float32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    code = os.path.join(os.environ["LIGHTGCN_PYTORCH"], "code")
    sys.path.insert(0, code)
    sys.argv = ["main.py", "--dataset", "gowalla", "--tensorboard", "0"]
    import world
    import utils
    import dataloader
    import model

    with tempfile.TemporaryDirectory() as folder:
        os.symlink(os.path.abspath(options.train), os.path.join(folder, "train.txt"))
        os.symlink(os.path.abspath(options.test), os.path.join(folder, "test.txt"))
        scipy.sparse.save_npz(os.path.join(folder, "s_pre_adj_mat.npz"), adjacency(options.train, options.test))
        dataset = dataloader.Loader(path=folder)
        recommender = model.LightGCN(world.config, dataset)
    loss = utils.BPRLoss(recommender, world.config)
    recommender.train()

    started = time.perf_counter()
    triples = torch.from_numpy(np.array(utils.UniformSample_original(dataset))).long()
    sampling = time.perf_counter() - started
    batch = world.config["bpr_batch_size"]
    walls, processors = [], []
    for step in range(options.steps + 2):
        users, positives, negatives = triples[step * batch:(step + 1) * batch].T
        wall, processor = time.perf_counter(), time.process_time()
        loss.stageOne(users, positives, negatives)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    wall, processor = np.median(walls[2:]), np.median(processors[2:])
    steps = -(-len(triples) // batch)
    print(f"LightGCN-PyTorch, {options.threads} threads, sampler in C++: {utils.sample_ext}: sampling {sampling:.2f} s an "
          f"epoch, median of {options.steps} steps {wall * 1e3:.1f} ms wall and {processor * 1e3:.1f} ms processor; an "
          f"epoch of {steps} steps {sampling + steps * wall:.1f} s")


if __name__ == "__main__":
    main()
