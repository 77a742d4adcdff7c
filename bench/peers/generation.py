"""The sampling of bench/bench_generation.c by transformers' generate: the same prompts, a model of the same shape with
random weights, KV cache on, prompts sorted by length and padded on the left within a batch. Nothing is forbidden here,
which is less work than bench_generation does.

  bench_generation ml-100k prompts.txt
  python bench/peers/generation.py prompts.txt
  bench_generation --device cuda gowalla prompts.txt
  python bench/peers/generation.py prompts.txt --device cuda --workload gowalla
"""

import argparse
import time

import torch
import transformers

# shapes: layers, width, heads, key heads, hidden
WORKLOADS = {
    "ml-100k": {"vocabulary": 1686, "items": 20, "tied": True, "shapes": ((2, 64, 2, 2, 176), (4, 128, 4, 4, 344)),
                "samples": [1, 4], "batches": [64, 256]},
    "gowalla": {"vocabulary": 41000, "items": 20, "tied": True, "shapes": ((12, 512, 8, 8, 1376),),
                "samples": [1], "batches": [2048]},
    "llama-8b": {"vocabulary": 128256, "items": 64, "tied": False, "shapes": ((32, 4096, 32, 8, 14336),),
                 "samples": [1], "batches": [64, 256]},
    "small": {"vocabulary": 104, "items": 4, "tied": True, "shapes": ((2, 32, 4, 2, 64),), "samples": [1], "batches": [64]},
}


def build(device, tied, vocabulary, layers, width, heads, key_heads, hidden):
    """On a GPU in bf16, made there."""
    torch.manual_seed(1)
    torch.set_default_device(device)
    torch.set_default_dtype(torch.float32 if device == "cpu" else torch.bfloat16)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=key_heads, intermediate_size=hidden, max_position_embeddings=2048, tie_word_embeddings=tied,
        bos_token_id=0, eos_token_id=None, pad_token_id=0)
    return transformers.LlamaForCausalLM(config).eval()


def generate(model, prompts, batch, items, samples):
    produced = 0
    for first in range(0, len(prompts), batch):
        chosen = prompts[first:first + batch]
        longest = max(map(len, chosen))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in chosen])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in chosen])
        with torch.no_grad():
            tokens = model.generate(
                input_ids=ids, attention_mask=mask, do_sample=True, temperature=0.8, top_p=0.9, top_k=0, use_cache=True,
                max_new_tokens=items, min_new_tokens=items, num_return_sequences=samples)
        produced += tokens.cpu().shape[0] * (tokens.shape[1] - longest)
    return produced


def measure(model, prompts, batch, items, samples, shape):
    """generate() has its tokens on the host at the end of a batch: a GPU is done by then."""
    started = time.perf_counter()
    produced = generate(model, prompts, batch, items, samples)
    seconds = time.perf_counter() - started
    print(f"layers {shape[0]} width {shape[1]}, samples {samples}, batch {batch}: {seconds:.3f} s, "
          f"{produced / seconds:.0f} interactions/s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workload", choices=tuple(WORKLOADS), default="ml-100k")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, nargs="+")
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--prompts-maximum", type=int, help="only every n-th prompt, so that so many are left")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("generation.py: torch finds no GPU")
    workload = WORKLOADS[arguments.workload]
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    with open(arguments.prompts, encoding="ascii") as lines:
        prompts = sorted(([int(token) for token in line.split()] for line in lines), key=len)
    if arguments.prompts_maximum:
        prompts = prompts[::max(1, len(prompts) // arguments.prompts_maximum)]
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {arguments.device}, {arguments.threads} threads, "
          f"{len(prompts)} prompts, {sum(map(len, prompts))} tokens")
    for shape in workload["shapes"]:
        model = build(arguments.device, workload["tied"], workload["vocabulary"], *shape)
        generate(model, prompts[:64], 64, 2, 1)  # warms up
        for samples in arguments.samples or workload["samples"]:
            for batch in arguments.batches or workload["batches"]:
                measure(model, prompts, batch, workload["items"], samples, shape)


if __name__ == "__main__":
    main()
