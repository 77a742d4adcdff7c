"""Writes transformer_CASE.safetensors and .json: random Llama-like models of transformers (and peft), run in
float64 over ragged sequences one at a time, with logits, loss and every gradient.

Needs torch, transformers, peft, safetensors, numpy. Run: python make_transformer.py [FOLDER]
"""

import json
import pathlib
import sys

import numpy
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LENGTHS = [1, 7, 19, 12, 2, 30]
CASES = {
    "plain": dict(query_heads=4, key_heads=4, tied=False, bias=False, targets=[]),
    "grouped_tied": dict(query_heads=4, key_heads=2, tied=True, bias=False, targets=[]),
    "bias": dict(query_heads=4, key_heads=1, tied=True, bias=True, targets=[]),
    "lora_all": dict(query_heads=4, key_heads=2, tied=True, bias=False, targets=ALL),
    "lora_qv": dict(query_heads=4, key_heads=4, tied=False, bias=False, targets=["q_proj", "v_proj"]),
}
VOCABULARY, WIDTH, LAYERS, HEAD_WIDTH, HIDDEN, RANK, ALPHA = 37, 20, 2, 6, 28, 3, 12.0


def build(case):
    kinds = (Qwen2Config, Qwen2ForCausalLM) if case["bias"] else (LlamaConfig, LlamaForCausalLM)
    config = kinds[0](
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, intermediate_size=HIDDEN,
        num_attention_heads=case["query_heads"], num_key_value_heads=case["key_heads"], head_dim=HEAD_WIDTH,
        tie_word_embeddings=case["tied"], rms_norm_eps=1e-5, rope_theta=500.0, attn_implementation="eager")
    model = kinds[1](config).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            offset = 1.0 if "norm" in name else 0.0
            parameter.copy_(offset + 0.25 * torch.randn_like(parameter))
    return model


def random_batch(generator, vocabulary=VOCABULARY):
    """Tokens, a target each (-1: none), a set of targets each, and weights, some of them zero."""
    count = sum(LENGTHS)
    weight = generator.uniform(0.5, 2.0, count).astype(numpy.float32)
    weight[generator.random(count) < 0.3] = 0.0
    target = generator.integers(0, vocabulary, count).astype(numpy.int32)
    target[generator.random(count) < 0.1] = -1
    sets = [generator.choice(vocabulary, size, replace=False) for size in generator.integers(0, 9, count)]
    return dict(
        token=generator.integers(0, vocabulary, count).astype(numpy.int32),
        starts=numpy.cumsum([0] + LENGTHS).astype(numpy.int32), target=target, weight=weight,
        set_starts=numpy.cumsum([0] + [len(s) for s in sets]).astype(numpy.int64),
        set_items=numpy.concatenate(sets).astype(numpy.int32))


def losses_of(logits, batch):
    log_probability = torch.log_softmax(logits, dim=-1)
    weight = torch.from_numpy(batch["weight"]).double()
    single, of_set = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for token in range(len(weight)):
        if batch["target"][token] >= 0:
            single = single - weight[token] * log_probability[token, batch["target"][token]]
        items = batch["set_items"][batch["set_starts"][token]:batch["set_starts"][token + 1]]
        if len(items):
            of_set = of_set - weight[token] * log_probability[token, torch.from_numpy(items).long()].mean()
    return single, of_set


def plain_name(name):
    return name.replace(".default", "")


def gradients_of(model, loss):
    model.zero_grad()
    loss.backward(retain_graph=True)
    return {plain_name(n): p.grad.float().numpy().copy() for n, p in model.named_parameters() if p.requires_grad}


def make(name, case, folder):
    torch.manual_seed(sorted(CASES).index(name))
    batch = random_batch(numpy.random.default_rng(7))
    model = build(case)
    tensors = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}
    if case["targets"]:
        model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=case["targets"],
                                                 lora_dropout=0.0, task_type="CAUSAL_LM"))
        with torch.no_grad():
            for n, p in model.named_parameters():
                if "lora_" in n:
                    p.copy_(0.3 * torch.randn_like(p))
                    tensors[plain_name(n)] = p.numpy().copy()
    model = model.double()
    token, starts = torch.from_numpy(batch["token"]).long(), batch["starts"]
    logits = torch.cat([model(input_ids=token[None, a:b]).logits[0] for a, b in zip(starts, starts[1:])])
    single, of_set = losses_of(logits, batch)
    for kind, loss in (("gradient", single), ("set_gradient", of_set)):
        tensors.update({f"{kind}.{n}": g for n, g in gradients_of(model, loss).items()})
    tensors.update(batch, logits=logits.detach().float().numpy(),
                   losses=numpy.array([single.item(), of_set.item()], dtype=numpy.float64))
    save_file(tensors, folder / f"transformer_{name}.safetensors")
    settings = dict(
        vocabulary=VOCABULARY, width=WIDTH, layers=LAYERS, query_heads=case["query_heads"],
        key_heads=case["key_heads"], head_width=HEAD_WIDTH, hidden=HIDDEN, tied=case["tied"],
        attention_bias=case["bias"], norm_epsilon=1e-5, rope_theta=500.0,
        rank=RANK if case["targets"] else 0, alpha=ALPHA,
        targets=[t.removesuffix("_proj") for t in case["targets"]])
    (folder / f"transformer_{name}.json").write_text(json.dumps(settings, indent=2) + "\n")


if __name__ == "__main__":
    target_folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for case_name, case_settings in CASES.items():
        make(case_name, case_settings, target_folder)
