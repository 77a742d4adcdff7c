"""Seconds of an epoch of SASRec with cross-entropy over all items in PyTorch, beside ours.

    SASREC_PYTORCH=checkout python sasrec_pytorch.py DATA [--ours bench_sequences] [--steps N] [--threads N]
                            [--width 64] [--heads 1] [--layers 2] [--length 200] [--batch 128] [--dropout 0.1]

The checkout is github.com/antklen/sasrec-bert4rec-recsys23: its model, data set, padding and loss, without Lightning
around them. DATA holds `user item` lines in order of time; the last two items of each user are left out. Needs torch,
numpy, pandas, transformers. Both sides read the same sequences, each user once an epoch, in batches of the same number
of users. Prints wall and processor seconds of an epoch; with --steps, of so many batches, made out to an epoch by
their number. --ours runs our program first, on the same threads.
"""
import argparse
import gzip
import os
import subprocess
import sys
import time

import pandas
import torch


def read(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt") as lines:
        rows = pandas.DataFrame([line.split()[:2] for line in lines], columns=["user_id", "item_id"])
    rows = pandas.DataFrame({"user_id": pandas.factorize(rows.user_id)[0],
                             "item_id": pandas.factorize(rows.item_id)[0] + 1})
    rows["time_idx"] = rows.groupby("user_id").cumcount()
    items = int(rows.item_id.max())
    return rows[rows.groupby("user_id").cumcount(ascending=False) >= 2], items


def run_ours(options):
    settings = {"model": "sasrec", "loss": "cross_entropy", "width": options.width, "heads": options.heads,
                "layers": options.layers, "length": options.length, "sequences": options.batch,
                "dropout": options.dropout}
    subprocess.run([options.ours, "--threads", str(options.threads), options.data, "3",
                    *(f"{name}={value}" for name, value in settings.items())], check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--ours", help="the program bench_sequences")
    parser.add_argument("--steps", type=int, default=0, help="batches to time; 0: a whole epoch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.1)
    options = parser.parse_args()
    if options.ours:
        run_ours(options)
    sys.path.insert(0, os.path.join(os.environ["SASREC_PYTORCH"], "src"))
    import datasets
    import models

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    rows, items = read(options.data)
    dataset = datasets.CausalLMDataset(rows, max_length=options.length)
    loader = torch.utils.data.DataLoader(dataset, batch_size=options.batch, shuffle=True,
                                         collate_fn=datasets.PaddingCollateFn())
    model = models.SASRec(item_num=items, maxlen=options.length, hidden_units=options.width,
                          num_blocks=options.layers, num_heads=options.heads, dropout_rate=options.dropout)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = torch.nn.CrossEntropyLoss()
    model.train()
    timed = min(options.steps or len(loader), len(loader))
    wall = processor = 0.0
    for step, batch in enumerate(loader):
        if step == 1:  # the first warms up, unless it is all there is
            wall, processor = -time.perf_counter(), -time.process_time()
        outputs = model(batch["input_ids"], batch["attention_mask"])
        loss = criterion(outputs.view(-1, outputs.size(-1)), batch["labels"].view(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == timed:
            break
    else:
        timed = len(loader) - 1
    scale = len(loader) / timed
    wall, processor = (wall + time.perf_counter()) * scale, (processor + time.process_time()) * scale
    print(f"PyTorch SASRec, {len(dataset)} sequences, {items} items, {options.threads} threads: {timed} of {len(loader)} "
          f"batches timed, an epoch {wall:.2f} s wall, {processor:.2f} s processor, loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
