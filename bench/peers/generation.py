"""The sampling of bench/bench_generation.c by transformers' generate: the same prompts, a model of the same shape with
random weights, KV cache on, prompts sorted by length and padded on the left within a batch. Nothing is forbidden here,
which is less work than bench_generation does.

  bench_generation ml-100k prompts.txt
  python bench/peers/generation.py prompts.txt
  bench_generation --device cuda gowalla prompts.txt
  python bench/peers/generation.py prompts.txt --device cuda --workload gowalla

With --items the folder that bench/bench_item_generation.c has written is read: its model, prompts, and items of several
tokens. Lists are then generated twice: freely, and with prefix_allowed_tokens_fn over a trie of the items less those that
the list has.

  bench_item_generation folder
  python bench/peers/generation.py folder/prompts.txt --items folder
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


COMMA, END = 29892, 2


class Items:
    """The trie of items, and which tokens may follow in a list that holds nothing else, each once."""

    def __init__(self, path):
        self.root, self.memory = {}, {}
        with open(path, encoding="ascii") as lines:
            for line in lines:
                node = self.root
                for token in map(int, line.split()):
                    node = node.setdefault(token, {})
                node[-1] = True

    def left(self, node, item, written):
        """Whether an item at or below the node is not written yet."""
        if -1 in node and item not in written:
            return True
        return any(self.left(node[token], item + (token,), written) for token in node if token >= 0)

    def allowed(self, answer):
        written, item, node = set(), (), self.root
        for token in answer:
            if token == COMMA:
                written.add(item)
                item, node = (), self.root
            else:
                item += (token,)
                node = node[token]
        tokens = [token for token in node if token >= 0 and self.left(node[token], item + (token,), written)]
        return tokens + ([COMMA] if -1 in node and item not in written else [])


def generate_items(model, prompts, batch, tokens, items):
    """Lists of so many tokens; their number of whole items, and of those that are none."""
    known = None if items is None else items
    valid = 0
    for first in range(0, len(prompts), batch):
        chosen = prompts[first:first + batch]
        longest = max(map(len, chosen))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in chosen])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in chosen])
        function = (lambda _, sequence: known.allowed(sequence[longest:].tolist())) if known else None
        with torch.no_grad():
            written = model.generate(
                input_ids=ids, attention_mask=mask, do_sample=True, temperature=0.8, top_p=0.9, top_k=0, use_cache=True,
                max_new_tokens=tokens, min_new_tokens=tokens, prefix_allowed_tokens_fn=function)
        valid += int((written[:, longest:] == COMMA).sum()) if known else 0
    return valid


def measure_items(arguments, prompts):
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM.from_pretrained(arguments.items, dtype=torch.float32).eval()
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = None
    items = Items(f"{arguments.items}/items.txt")
    tokens = arguments.tokens
    generate_items(model, prompts[:8], 8, 2, None)  # warms up
    for name, constraint in (("prefix_allowed_tokens_fn", items), ("unconstrained", None)):
        started, busy = time.perf_counter(), time.process_time()
        valid = generate_items(model, prompts, arguments.batches[0] if arguments.batches else 128, tokens, constraint)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        print(f"{name}, {len(prompts)} lists of {tokens} tokens: {seconds:.3f} s ({busy:.3f} s of processors), {len(prompts) * tokens / seconds:.0f} new tokens/s, "
              f"{valid / seconds:.0f} items/s, {len(prompts) / seconds:.1f} users/s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workload", choices=tuple(WORKLOADS), default="ml-100k")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, nargs="+")
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--prompts-maximum", type=int, help="only every n-th prompt, so that so many are left")
    parser.add_argument("--items", help="the folder of bench_item_generation")
    parser.add_argument("--tokens", type=int, default=50, help="with --items: of a list")
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
    if arguments.items:
        measure_items(arguments, prompts)
        return
    for shape in workload["shapes"]:
        model = build(arguments.device, workload["tied"], workload["vocabulary"], *shape)
        generate(model, prompts[:64], 64, 2, 1)  # warms up
        for samples in arguments.samples or workload["samples"]:
            for batch in arguments.batches or workload["batches"]:
                measure(model, prompts, batch, workload["items"], samples, shape)


if __name__ == "__main__":
    main()
