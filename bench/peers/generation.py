"""The sampling of bench/bench_generation.c by transformers' generate: the same prompts, a model of the same shape with
random weights, KV cache on, prompts sorted by length and padded on the left within a batch. Nothing is forbidden here,
which is less work than bench_generation does.

  bench_generation prompts.txt
  python bench/peers/generation.py prompts.txt
"""

import argparse
import time

import torch
import transformers

SHAPES = ((2, 64, 2, 176), (4, 128, 4, 344))  # layers, width, heads, hidden


def build(vocabulary, layers, width, heads, hidden):
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, intermediate_size=hidden, max_position_embeddings=2048, tie_word_embeddings=True,
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
        produced += tokens.shape[0] * (tokens.shape[1] - longest)
    return produced


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts")
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--vocabulary", type=int, default=1686)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    with open(arguments.prompts, encoding="ascii") as lines:
        prompts = sorted(([int(token) for token in line.split()] for line in lines), key=len)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, {arguments.threads} threads, "
          f"{len(prompts)} prompts, {sum(map(len, prompts))} tokens")
    for shape in SHAPES:
        model = build(arguments.vocabulary, *shape)
        generate(model, prompts[:64], 64, 2, 1)  # warms up
        for samples in arguments.samples:
            for batch in arguments.batches:
                started = time.perf_counter()
                produced = generate(model, prompts, batch, arguments.items, samples)
                seconds = time.perf_counter() - started
                print(f"layers {shape[0]} width {shape[1]}, samples {samples}, batch {batch}: {seconds:.3f} s, "
                      f"{produced / seconds:.0f} interactions/s", flush=True)


if __name__ == "__main__":
    main()
