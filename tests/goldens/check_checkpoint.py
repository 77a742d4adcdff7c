"""Loads with transformers and peft what `test_checkpoint FOLDER` saved, and compares logits with the goldens.

Needs torch, transformers, peft, safetensors, numpy. Run: test_checkpoint FOLDER; python check_checkpoint.py FOLDER
"""

import pathlib
import sys

import numpy
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

CASES = ["plain", "grouped_tied", "bias", "lora_all", "lora_qv"]


def difference(folder, golden):
    """The largest difference between logits, relative to the largest logit."""
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    if (folder / "adapter").exists():
        model = PeftModel.from_pretrained(model, folder / "adapter")
    token, starts = torch.from_numpy(golden["token"]).long(), golden["starts"]
    with torch.no_grad():
        logits = torch.cat([model(input_ids=token[None, a:b]).logits[0] for a, b in zip(starts, starts[1:])])
    return numpy.abs(logits.float().numpy() - golden["logits"]).max() / numpy.abs(golden["logits"]).max()


def main():
    worst = 0.0
    for name in CASES:
        golden = load_file(pathlib.Path(__file__).parent / f"transformer_{name}.safetensors")
        found = difference(pathlib.Path(sys.argv[1]) / name, golden)
        print(f"{name}: logits differ by {found:.2g} of the largest")
        worst = max(worst, found)
    return 0 if worst <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
