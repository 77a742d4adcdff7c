"""The same base fine-tuned with its frozen linears in f32, int8 and NF4 on the same data: memory by the arenas' table and
the loss of every epoch, side by side.

    IDREC=build/idrec python3 bench/quantized.py [CONFIG [key.path=value ...]] > bench/results/quantized.txt

Pretrains once, in a temporary folder, then runs the stage `finetune` once for each storage. Python without any package.
"""

import os
import re
import subprocess
import sys
import tempfile

IDREC = os.environ.get("IDREC", "build/idrec")
BASES = ["precision", "int8", "nf4"]
DEFAULTS = ["configs/datasets/ml-100k.yaml", "threads=1", "device=cpu", "language_model.width=128",
            "language_model.layers=4", "language_model.heads=4", "pretrain.epochs=2", "prompts.random_cuts=0",
            "finetune.epochs=3"]


def run(stage, arguments):
    command = [IDREC, stage, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stderr}")
    return result.stderr


def memory(log):
    return {name: float(mebibytes) for name, mebibytes in re.findall(r"^  (\w+) +([\d.]+) MiB", log, re.M)}


def losses(log):
    return re.findall(r"finetune: (as it is|epoch \d+), (?:loss ([\d.]+), )?validation loss ([\d.]+)", log)


def main():
    arguments = sys.argv[1:] or DEFAULTS
    logs = []
    with tempfile.TemporaryDirectory() as folder:
        arguments = [*arguments, f"output={folder}/run"]
        for stage in ("prepare", "pretrain"):
            run(stage, arguments)
        for base in BASES:
            logs.append(run("finetune", [*arguments, f"finetune.base={base}"]))
    print("$", "idrec finetune", *arguments[:-1], "finetune.base=...", "\n")
    print(f"{'MiB':<16}" + "".join(f"{base:>12}" for base in BASES))
    for name in memory(logs[0]):
        print(f"{name:<16}" + "".join(f"{memory(log)[name]:12.2f}" for log in logs))
    print(f"\n{'train loss / validation loss':<30}" + "".join(f"{base:>18}" for base in BASES))
    for rows in zip(*map(losses, logs)):
        print(f"{rows[0][0]:<30}" + "".join(f"{(train or '-') + ' / ' + validation:>18}" for _, train, validation in rows))
    for base, log in zip(BASES, logs):
        print(f"\n---- {base} ----\n{log.rstrip()}")


main()
