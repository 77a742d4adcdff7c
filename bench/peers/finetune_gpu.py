"""Fine-tuning by transformers and peft on the work of bench/bench_finetune.c on a GPU: the same shapes, sequences and steps.

    python finetune_gpu.py [--device cuda] [--small] [--seconds 5] [CASE ...]

Weights are random and all in bf16 (adapters too, which is faster than peft's default of f32), AdamW is torch's fused one,
attention sdpa and, where flash_attn is installed, that. Ragged prompts are padded to the longest of the batch, with
flash_attn also packed without padding; real tokens are counted. The shape of Qwen3-0.6B is built as a Llama, without its
norms of q and k, as in bench_finetune. Where memory runs out the batch is halved, and the line says so.
"""
import argparse
import dataclasses
import gc
import importlib.util
import time

import peft
import torch
import transformers

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclasses.dataclass
class Case:
    vocabulary: int
    width: int
    layers: int
    query_heads: int
    key_heads: int
    head_width: int
    hidden: int
    tied: bool
    lora: bool
    sequences: int
    shortest: int
    longest: int


CASES = {
    "qwen3-0.6b-no-qk-norm": Case(151936, 1024, 28, 16, 8, 128, 3072, True, True, 4, 2048, 2048),
    "llama-3.2-1b": Case(128256, 2048, 16, 32, 8, 64, 8192, True, True, 4, 2048, 2048),
    "llama-3.1-8b": Case(128256, 4096, 32, 32, 8, 128, 14336, False, True, 4, 2048, 2048),
    "id-prompts": Case(41000, 512, 12, 8, 8, 64, 1376, True, True, 76, 20, 400),
    "id-prompts-full": Case(41000, 512, 12, 8, 8, 64, 1376, True, False, 76, 20, 400),
}
SMALL = {
    "small-rows": Case(300, 32, 2, 4, 2, 8, 64, False, True, 2, 64, 64),
    "small-ids": Case(500, 32, 2, 2, 2, 16, 64, True, False, 6, 4, 30),
}


def build(case, attention, device):
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=case.vocabulary, hidden_size=case.width, num_hidden_layers=case.layers,
        num_attention_heads=case.query_heads, num_key_value_heads=case.key_heads, head_dim=case.head_width,
        intermediate_size=case.hidden, max_position_embeddings=4096, tie_word_embeddings=case.tied, use_cache=False,
        attn_implementation=attention)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = transformers.LlamaForCausalLM(config)
        if case.lora:
            model = peft.get_peft_model(
                model, peft.LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=LINEARS,
                                       task_type="CAUSAL_LM"), autocast_adapter_dtype=False)
    torch.set_default_dtype(torch.float32)
    return model.to(device).train()


def prompts_of(case, device):
    for i in range(case.sequences):
        length = case.shortest + 197 * i % (case.longest - case.shortest + 1)
        yield (7919 * i + 104729 * torch.arange(length, device=device)) % case.vocabulary


def padded(prompts):
    ids = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=ids.device)
    mask = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
    inputs = {"input_ids": ids, "labels": ids.masked_fill(~mask, -100)}
    return inputs if bool(mask.all()) else inputs | {"attention_mask": mask.long()}


def packed(prompts):
    labels = [torch.cat((prompt.new_full((1,), -100), prompt[1:])) for prompt in prompts]
    positions = [torch.arange(len(prompt), device=prompt.device) for prompt in prompts]
    return {name: torch.cat(parts)[None]
            for name, parts in (("input_ids", prompts), ("labels", labels), ("position_ids", positions))}


def synchronize(device):
    if device != "cpu":
        torch.cuda.synchronize()


def measure(model, inputs, seconds, device):
    """Seconds of a step."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=device != "cpu")

    def step():
        model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(3):
        step()
    synchronize(device)
    started, steps = time.perf_counter(), 0
    while steps < 3 or time.perf_counter() - started < seconds:
        step()
        steps += 1
        synchronize(device)
    return (time.perf_counter() - started) / steps


def run(name, case, attention, arrange, arguments):
    device = arguments.device
    count = case.sequences
    while count:
        try:
            prompts = list(prompts_of(case, device))[:count]
            if device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            seconds = measure(build(case, attention, device), arrange(prompts), arguments.seconds, device)
        except torch.OutOfMemoryError:
            count //= 2
        else:
            tokens = sum(len(prompt) for prompt in prompts)
            memory = torch.cuda.max_memory_allocated() / 2**30 if device != "cpu" else 0
            print(f"{name} {'LoRA' if case.lora else 'full'} {attention}, {arrange.__name__}, batch {tokens}"
                  f"{'' if count == case.sequences else ' (no memory for more)'}: {tokens / seconds:.0f} tokens/s, "
                  f"{1e3 * seconds:.2f} ms a step, memory {memory:.2f} GiB", flush=True)
            return
        finally:
            gc.collect()
            if device != "cpu":
                torch.cuda.empty_cache()
    print(f"{name} {attention}, {arrange.__name__}: not measured, out of memory", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    arguments = parser.parse_args()
    cases = SMALL if arguments.small else CASES
    flash = arguments.device != "cpu" and importlib.util.find_spec("flash_attn") is not None
    print(f"transformers {transformers.__version__} + peft {peft.__version__}, torch {torch.__version__}, flash_attn "
          f"{'found' if flash else 'not found'}", flush=True)
    for name in arguments.cases or cases:
        case = cases[name]
        run(name, case, "sdpa", padded, arguments)
        if flash:
            run(name, case, "flash_attention_2", packed if case.shortest < case.longest else padded, arguments)


if __name__ == "__main__":
    main()
