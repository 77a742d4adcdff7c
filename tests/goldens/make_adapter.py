"""Writes adapters/CASE: adapters made by peft with random A and B on the model of transformer_grouped_tied.safetensors, as
peft saves them, and golden.safetensors with logits, loss and LoRA gradients of base and adapter, run in float64.

Needs torch, transformers, peft, safetensors, numpy. Run: python make_adapter.py [FOLDER]
"""

import pathlib
import sys

import torch
from make_transformer import ALL, CASES, build, gradients_of, losses_of
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

BASE = "grouped_tied"
ADAPTERS = {
    "list": dict(settings=dict(r=3, lora_alpha=12, target_modules=["q_proj", "v_proj"]), dtype=torch.float32),
    "stabilized": dict(settings=dict(r=5, lora_alpha=4, use_rslora=True, target_modules=ALL),
                       dtype=torch.float32),
    "all_linear": dict(settings=dict(r=2, lora_alpha=3, target_modules="all-linear"), dtype=torch.bfloat16),
    "expression": dict(settings=dict(r=1, lora_alpha=2.5, use_rslora=True,
                                     target_modules=r"model\.layers\.\d+\.mlp\.(gate|down)_proj"), dtype=torch.float16),
    "excluded": dict(settings=dict(r=4, lora_alpha=8, target_modules=["self_attn.o_proj", "k_proj", "up_proj"],
                                   exclude_modules=["up_proj"]), dtype=torch.float32),
}


def load_base(golden):
    model = build(CASES[BASE])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(golden[name])
    return model


def randomize(model, dtype):
    """Values that a file of `dtype` holds exactly."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_((0.3 * torch.randn_like(parameter)).to(dtype).float())


def save_adapter(model, dtype, folder):
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    weights = folder / "adapter_model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})


def make(name, case, golden, folder):
    torch.manual_seed(sorted(ADAPTERS).index(name))
    model = get_peft_model(load_base(golden), LoraConfig(task_type="CAUSAL_LM", **case["settings"]))
    randomize(model, case["dtype"])
    save_adapter(model, case["dtype"], folder)
    model = model.double().eval()
    token, starts = golden["token"].long(), golden["starts"]
    logits = torch.cat([model(input_ids=token[None, a:b]).logits[0] for a, b in zip(starts, starts[1:])])
    batch = {key: golden[key].numpy() for key in ("target", "weight", "set_starts", "set_items")}
    single, of_set = losses_of(logits, batch)
    tensors = {f"gradient.{n}": torch.from_numpy(g) for n, g in gradients_of(model, single).items()}
    tensors.update({key: golden[key] for key in ("token", "starts", "target", "weight")},
                   logits=logits.detach().float(), losses=torch.tensor([single.item(), of_set.item()]).double())
    save_file(tensors, folder / "golden.safetensors")


def main():
    here = pathlib.Path(__file__).parent
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here
    golden = load_file(here / f"transformer_{BASE}.safetensors")
    for name, case in ADAPTERS.items():
        folder = target / "adapters" / name
        folder.mkdir(parents=True, exist_ok=True)
        make(name, case, golden, folder)


if __name__ == "__main__":
    main()
