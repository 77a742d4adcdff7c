"""Writes adapters/new_tokens_CASE: adapters made by peft with random A and B on the models of transformer_CASE.safetensors,
resized by NEW tokens whose rows are trained (trainable_token_indices), as peft saves them, and golden.safetensors with a
batch over all tokens, logits, losses and gradients of base and adapter, run in float64.

Of the tied model the whole tables are saved too, as peft does by itself when it finds the base's folder; of the untied one
the rows alone.

Needs torch, transformers, peft, safetensors, numpy. Run: python make_new_tokens.py [FOLDER]
"""

import pathlib
import sys

import numpy
import torch
from make_transformer import ALL, CASES, VOCABULARY, build, gradients_of, losses_of, random_batch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

NEW = 5
INDICES = list(range(VOCABULARY, VOCABULARY + NEW))
ADAPTERS = {
    "tied": dict(base="grouped_tied", indices=INDICES, whole=True, targets=["q_proj", "v_proj"]),
    "untied": dict(base="plain", indices={"embed_tokens": INDICES, "lm_head": INDICES}, whole=False, targets=ALL),
}


def load_base(name, golden):
    model = build(CASES[name])
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            parameter.copy_(golden[parameter_name])
    return model


def randomize(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "trainable_tokens_delta" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))


def make(name, case, golden, folder):
    torch.manual_seed(20 + sorted(ADAPTERS).index(name))
    base = load_base(case["base"], golden)
    base.resize_token_embeddings(VOCABULARY + NEW)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=12, target_modules=case["targets"],
                                            trainable_token_indices=case["indices"]))
    randomize(model)
    model.save_pretrained(folder, save_embedding_layers=case["whole"])
    (folder / "README.md").unlink()
    model = model.double().eval()
    batch = random_batch(numpy.random.default_rng(11), VOCABULARY + NEW)
    token, starts = torch.from_numpy(batch["token"]).long(), batch["starts"]
    logits = torch.cat([model(input_ids=token[None, a:b]).logits[0] for a, b in zip(starts, starts[1:])])
    single, of_set = losses_of(logits, batch)
    tensors = {key: torch.from_numpy(value) for key, value in batch.items()}
    for kind, loss in (("gradient", single), ("set_gradient", of_set)):
        tensors.update({f"{kind}.{n}": torch.from_numpy(g) for n, g in gradients_of(model, loss).items()})
    tensors.update(logits=logits.detach().float(), losses=torch.tensor([single.item(), of_set.item()]).double())
    save_file(tensors, folder / "golden.safetensors")


def main():
    here = pathlib.Path(__file__).parent
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here
    for name, case in ADAPTERS.items():
        folder = target / "adapters" / f"new_tokens_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        make(name, case, load_file(here / f"transformer_{case['base']}.safetensors"), folder)


if __name__ == "__main__":
    main()
