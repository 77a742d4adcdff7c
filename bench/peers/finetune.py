"""LoRA fine-tuning by transformers and peft on the work of bench/bench_finetune.c: ragged prompts of IDs, batches padded to
their longest prompt, real tokens counted.

  python bench/peers/finetune.py --vocabulary 1686 --width 128 --layers 4 --heads 4 --hidden 344 --prompts 512
"""

import argparse
import time

import numpy
import peft
import torch
import transformers


def build(arguments):
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=arguments.vocabulary, hidden_size=arguments.width, num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.heads, num_key_value_heads=arguments.heads, intermediate_size=arguments.hidden,
        max_position_embeddings=2048, tie_word_embeddings=True, use_cache=False)
    base = transformers.LlamaForCausalLM(config)
    return peft.get_peft_model(base, peft.LoraConfig(
        r=arguments.rank, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))


def make_prompts(arguments):
    generator = numpy.random.default_rng(1)
    lengths = generator.integers(arguments.shortest, arguments.longest + 1, arguments.prompts)
    return [torch.from_numpy(generator.integers(4, arguments.vocabulary, length)) for length in lengths]


def make_batches(prompts, size):
    for first in range(0, len(prompts), size):
        chosen = prompts[first:first + size]
        ids = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        lengths = torch.tensor([len(prompt) for prompt in chosen])
        mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
        yield ids, mask.long(), ids.masked_fill(~mask, -100), int(lengths.sum())


def train(model, prompts, size, repeats):
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    model.train()
    rates = []
    for repeat in range(repeats + 1):
        tokens, started = 0, time.perf_counter()
        for ids, mask, labels, count in make_batches(prompts, size):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            tokens += count
        if repeat > 0:  # the first pass warms up
            rates.append(tokens / (time.perf_counter() - started))
    return max(rates), float(loss)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in dict(vocabulary=1686, width=128, layers=4, heads=4, hidden=344, rank=8, prompts=256, shortest=20,
                            longest=400, batch=32, repeats=2, threads=2).items():
        parser.add_argument("--" + name, type=int, default=value)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    prompts = make_prompts(arguments)
    for label, ordered in (("padded", prompts), ("padded, sorted by length", sorted(prompts, key=len))):
        rate, loss = train(build(arguments), ordered, arguments.batch, arguments.repeats)
        print(f"transformers {transformers.__version__} + peft {peft.__version__}, torch {torch.__version__}, {label}: "
              f"{rate:.0f} real tokens/s (last loss {loss:.3f})", flush=True)


if __name__ == "__main__":
    main()
