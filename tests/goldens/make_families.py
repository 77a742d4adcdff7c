"""Writes families/NAME: tiny random checkpoints of each family as transformers saves them, an adapter as peft saves it,
and in expected.safetensors what they compute in float64: logits of fixed tokens, 64 tokens of greedy continuation, and
with the adapter logits, the mean next-token loss and its gradients.

Needs torch, transformers, peft, safetensors, numpy. Run: python make_families.py [--out FOLDER] [--many N]
With --many, N models of each family with random sizes and options: FOLDER/FAMILY-NUMBER, to be read by the test
`families` where IDREC_FAMILIES=FOLDER is set.
"""

import argparse
import json
import pathlib
import random
import shutil

import numpy
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS, PROMPT, CONTINUED = 24, 8, 64
MARGIN = 2e-3  # by which the best logit of a greedy step leads, relative to the largest
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
SIZES = dict(vocab_size=48, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             intermediate_size=24, max_position_embeddings=256)

# of each: model_type, configuration, how it is stored ("old": config.json as transformers 4 wrote it), adapter
CASES = {
    "llama2": dict(type="llama", config=dict(num_key_value_heads=4, rms_norm_eps=1e-5), old=True, dtype="float16",
                   targets=["q_proj", "v_proj"]),
    "llama3": dict(type="llama", config=dict(rope_parameters=dict(LLAMA3, rope_theta=500.0), head_dim=8), old=True,
                   dtype="bfloat16", targets=ALL),
    "llama31": dict(type="llama", config=dict(rope_parameters=dict(LLAMA3, rope_theta=2000.0),
                                              tie_word_embeddings=True), targets=["o_proj", "down_proj"]),
    "llama_linear": dict(type="llama", config=dict(rope_parameters=dict(rope_type="linear", factor=4.0,
                                                                        rope_theta=100.0)),
                         old=True, dtype="bfloat16", targets=["k_proj", "up_proj"]),
    "llama_bias": dict(type="llama", config=dict(attention_bias=True, mlp_bias=True), targets=ALL),
    "mistral": dict(type="mistral", config=dict(sliding_window=128, rope_parameters=dict(
        rope_type="default", rope_theta=1e6)), old=True, shard="16KB", targets=["q_proj", "k_proj", "v_proj"]),
    "qwen2": dict(type="qwen2", config=dict(rope_parameters=dict(rope_type="default", rope_theta=1e6),
                                            tie_word_embeddings=True), old=True, targets=["q_proj", "v_proj"]),
    "qwen3": dict(type="qwen3", config=dict(head_dim=10, rope_parameters=dict(rope_type="default", rope_theta=1e6)),
                  targets=ALL),
    "qwen3_bias": dict(type="qwen3", config=dict(head_dim=4, attention_bias=True, tie_word_embeddings=True),
                       old=True, dtype="bfloat16", targets=["q_proj", "gate_proj"]),
    "tinyllama": dict(type="llama", config=dict(num_key_value_heads=1), old=True, dtype="float16",
                      targets=["q_proj", "v_proj"]),
    "smollm": dict(type="llama", config=dict(num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True),
                   old=True, dtype="bfloat16", targets=["q_proj", "o_proj"]),
}

# keys that folders in use carry and that change nothing
COMMON = dict(_name_or_path="./checkpoint", attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu",
              initializer_range=0.02, pretraining_tp=1, transformers_version="4.40.1", use_cache=True)
CARRIED = {
    "llama": dict(pad_token_id=0, attention_bias=False, mlp_bias=False, rope_scaling=None),
    "mistral": dict(),
    "qwen2": dict(max_window_layers=28, sliding_window=131072, use_sliding_window=False, use_mrope=False),
    "qwen3": dict(max_window_layers=36, sliding_window=None, use_sliding_window=False, eos_token_id=[2, 3]),
    "smollm": dict(is_llama_config=True, rope_interleaved=False, pad_token_id=2,
                   **{"transformers.js_config": {"dtype": "q4", "kv_cache_dtype": {"q4f16": "float16"}}}),
}


def random_case(family, draw):
    heads, head_width = draw.choice([2, 3, 4, 6]), draw.choice([6, 8, 12])
    theta = draw.choice([50.0, 500.0, 1e4, 5e5, 1e6])
    rope = draw.choice([
        dict(rope_type="default"), dict(rope_type="default"), dict(rope_type="linear", factor=draw.choice([2.0, 8.0])),
        dict(rope_type="llama3", factor=draw.choice([8.0, 32.0]), low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=draw.choice([16, 64, 8192]))])
    config = dict(
        vocab_size=draw.randint(24, 96), hidden_size=heads * head_width, num_hidden_layers=draw.randint(1, 3),
        num_attention_heads=heads, num_key_value_heads=draw.choice([k for k in range(1, heads + 1) if heads % k == 0]),
        intermediate_size=draw.randint(8, 64), max_position_embeddings=draw.choice([128, 2048, 131072]),
        rms_norm_eps=draw.choice([1e-6, 1e-5, 1e-3]), tie_word_embeddings=draw.random() < 0.5,
        rope_parameters=dict(rope, rope_theta=theta))
    if family in ("llama", "mistral", "qwen3") and draw.random() < 0.5 or family == "qwen3":
        config["head_dim"] = draw.choice([2, 4, 6, 8, 16])
    if family == "llama":
        config.update(attention_bias=draw.random() < 0.4, mlp_bias=draw.random() < 0.4)
    if family == "qwen3":
        config.update(attention_bias=draw.random() < 0.3)
    if family == "mistral":
        config.update(sliding_window=draw.choice([None, 80, 4096]))
    if family.startswith("qwen") and draw.random() < 0.3:
        config.update(use_sliding_window=True, sliding_window=100, max_window_layers=draw.choice([0, 1]))
    return dict(type=family, config=config, old=draw.random() < 0.5, shard=draw.choice([None, None, "4KB"]),
                dtype=draw.choice(["float32", "float32", "bfloat16", "float16"]), rank=draw.randint(1, 5),
                targets=draw.sample(ALL, draw.randint(1, 7)))


def build(case, seed):
    torch.manual_seed(seed)
    config = AutoConfig.for_model(case["type"], **{**SIZES, **case["config"]})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    deviation = 1.2 / config.hidden_size ** 0.5
    dtype = getattr(torch, case.get("dtype", "float32"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            offset, scale = (1.0, 0.25) if "norm" in name else (0.0, 1.0 if "embed" in name else deviation)
            parameter.copy_((offset + scale * torch.randn_like(parameter)).to(dtype))
    return model.eval()


def continued(model, tokens):
    """The greedy continuation, computed anew for each token, or None when it hangs on the last bits of a logit."""
    tokens = list(tokens)
    for _ in range(CONTINUED):
        logits = model(input_ids=torch.tensor([tokens])).logits[0, -1]
        best = logits.topk(2).values
        if best[0] - best[1] < MARGIN * logits.abs().max():
            return None
        tokens.append(int(logits.argmax()))
    return tokens[-CONTINUED:]


def rewrite_config(folder, name, case):
    """As transformers 4 wrote it, with what folders in use carry besides."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    if config.get("head_dim") == config["hidden_size"] // config["num_attention_heads"] and case["type"] != "qwen3":
        del config["head_dim"]
    carried = {**COMMON, **CARRIED[case["type"]], **CARRIED.get(name, {})}
    config = {**carried, **{key: value for key, value in config.items() if value is not None}}
    if rope["rope_type"] != "default":
        config["rope_scaling"] = rope
        if rope["rope_type"] == "linear":
            rope["type"] = rope.pop("rope_type")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save(model, folder, name, case):
    dtype = getattr(torch, case.get("dtype", "float32"))
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, **({"max_shard_size": case["shard"]} if case.get("shard") else {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.get("old"):
        rewrite_config(folder, name, case)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").double()


def with_adapter(model, folder, case):
    rank = case.get("rank", 2)
    model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=3 * rank, target_modules=case["targets"],
                                             lora_dropout=0.0, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_((0.2 * torch.randn_like(parameter)).float())
    model.float().save_pretrained(folder)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = None  # the folder on the machine that made it
    path.write_text(json.dumps(config, indent=2))
    (folder / "README.md").unlink(missing_ok=True)
    return model.double()


def adapted(model, tokens):
    logits = model(input_ids=tokens[None]).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[:-1], tokens[1:])
    loss.backward()
    gradients = {f"gradient.{name.replace('.default', '')}": parameter.grad.float().numpy()
                 for name, parameter in model.named_parameters() if parameter.requires_grad}
    return dict(adapted_logits=logits.detach().float().numpy(), loss=numpy.array([loss.item()]), **gradients)


def make(name, case, folder, variety):
    """With the first seed whose greedy continuation is clear and has some different tokens."""
    for seed in range(1000):
        model = build(case, seed).double()
        tokens = torch.randint(0, model.config.vocab_size, (TOKENS,))
        with torch.no_grad():
            continuation = continued(model, tokens[:PROMPT].tolist())
            logits = model(input_ids=tokens[None]).logits[0]
        if continuation and len(set(continuation)) >= variety:
            break
    else:
        raise SystemExit(f"{name}: no seed gives a clear continuation")
    model = save(model, folder, name, case)
    with torch.no_grad():
        assert torch.equal(model(input_ids=tokens[None]).logits[0], logits), f"{name}: read back as another model"
    expected = dict(token=tokens.numpy().astype(numpy.int32), logits=logits.float().numpy(),
                    continuation=numpy.array(continuation, dtype=numpy.int32))
    model = with_adapter(model, folder / "adapter", case)
    expected.update(adapted(model, tokens))
    save_file(expected, folder / "expected.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "families")
    parser.add_argument("--many", type=int, default=0)
    arguments = parser.parse_args()
    cases = CASES
    if arguments.many:
        draw = random.Random(1)
        cases = {f"{family}-{number}": random_case(family, draw)
                 for family in ("llama", "mistral", "qwen2", "qwen3") for number in range(arguments.many)}
    for name, case in cases.items():
        make(name, case, arguments.out / name, 2 if arguments.many else 6)
        print(name, flush=True)


if __name__ == "__main__":
    main()
