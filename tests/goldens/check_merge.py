"""Merges the adapters of make_adapter.py and make_new_tokens.py by `idrec merge`, loads the results with transformers, and
compares logits with those of peft's merge_and_unload of the same base and adapter.

Needs torch, transformers, peft, safetensors. Run: python check_merge.py IDREC (the program)
"""

import pathlib
import subprocess
import sys
import tempfile

import make_adapter
import make_new_tokens
import torch
from make_new_tokens import NEW, load_base
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
# Of each way the base's type, the options, the type that the result is rounded to, and the tolerance. peft merges in the type of
# the base, where ours sums in f32; a sum that differs in its last bit may be rounded to the other side.
WAYS = {"f32": (torch.float32, [], torch.float32, 1e-5),
        "shards": (torch.float32, ["--shard-bytes=3000"], torch.float32, 1e-5),
        "bf16": (torch.bfloat16, [], torch.bfloat16, 1e-5), "f16": (torch.float16, [], torch.float16, 1e-4),
        "f32_to_bf16": (torch.float32, ["--dtype=bf16"], torch.bfloat16, 1e-3)}


def logits_of(model, golden):
    token, starts = golden["token"].long(), golden["starts"]
    with torch.no_grad():
        return torch.cat([model.float()(input_ids=token[None, a:b]).logits[0] for a, b in zip(starts, starts[1:])])


# Of each adapter its base, and how many tokens are new.
ADAPTERS = {**{name: (make_adapter.BASE, 0) for name in make_adapter.ADAPTERS},
            **{f"new_tokens_{name}": (case["base"], NEW) for name, case in make_new_tokens.ADAPTERS.items()}}


def difference(program, folder, name, dtype, options, rounded):
    adapter, base, merged = HERE / "adapters" / name, folder / "base", folder / "merged"
    base_name, added = ADAPTERS[name]
    golden = load_file(adapter / "golden.safetensors")
    load_base(base_name, load_file(HERE / f"transformer_{base_name}.safetensors")).to(dtype).save_pretrained(base)
    subprocess.run([program, "merge", base, adapter, merged, *options], check=True, stdout=subprocess.DEVNULL)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    model.resize_token_embeddings(model.config.vocab_size + added)
    reference = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    for parameter in reference.parameters():
        parameter.data = parameter.data.to(rounded)
    expected = logits_of(reference, golden)
    found = logits_of(AutoModelForCausalLM.from_pretrained(merged), golden)
    return ((found - expected).abs().max() / expected.abs().max()).item()


def main():
    good = True
    for way, (dtype, options, rounded, tolerance) in WAYS.items():
        for name in ADAPTERS:
            with tempfile.TemporaryDirectory() as folder:
                found = difference(sys.argv[1], pathlib.Path(folder), name, dtype, options, rounded)
            print(f"{way}, {name}: logits differ by {found:.2g} of the largest", flush=True)
            good = good and found <= tolerance
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
