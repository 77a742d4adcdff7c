"""Loads with peft what `test_adapter FOLDER` and `test_new_tokens FOLDER` trained and saved, and compares logits with those
of the program. A base is made longer by an adapter's new tokens first.

Needs torch, transformers, peft, safetensors, numpy.
Run: test_adapter FOLDER; test_new_tokens FOLDER; python check_adapter.py FOLDER
"""

import json
import pathlib
import sys

import numpy
import torch
from peft import LoraConfig, PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM


def logits_of(model, golden):
    token, starts = torch.from_numpy(golden["token"]).long(), golden["starts"]
    with torch.no_grad():
        logits = [model(input_ids=token[None, a:b]).logits[0] for a, b in zip(starts, starts[1:])]
    return torch.cat(logits).float().numpy()


def load_base(folder, config):
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    added = config.get("trainable_token_indices")
    if added:
        base.resize_token_embeddings(1 + max(added["embed_tokens"] if isinstance(added, dict) else added))
    return base


def golden_of(folder):
    goldens = pathlib.Path(__file__).parent
    new_tokens = goldens / "adapters" / folder.name / "golden.safetensors"
    return load_file(new_tokens if new_tokens.exists() else goldens / "transformer_grouped_tied.safetensors")


def differences(folder, config):
    """The largest difference between logits, relative to the largest logit: with the adapter, and without it."""
    golden, expected = golden_of(folder), load_file(folder / "logits.safetensors")["logits"]
    model = PeftModel.from_pretrained(load_base(folder, config), folder / "adapter")
    adapted = logits_of(model, golden)
    with model.disable_adapter():
        plain = logits_of(model, golden)
    return [numpy.abs(found - expected).max() / numpy.abs(expected).max() for found in (adapted, plain)]


def main():
    good = True
    for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
        unknown = set(config) - set(LoraConfig().to_dict())
        adapted, plain = differences(folder, config)
        print(f"{folder.name}: logits differ by {adapted:.2g} of the largest, without the adapter by {plain:.2g}; "
              f"keys that peft does not know: {sorted(unknown)}")
        good = good and adapted <= 1e-4 < plain and not unknown
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
