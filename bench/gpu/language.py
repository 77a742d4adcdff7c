"""The language model's speed beside transformers and peft: fine-tuning and generation."""
import os
import re

from .runner import Failed, all_of

FINETUNE_AIMS = {"qwen3-0.6b-no-qk-norm": "150,000 tokens/s, 2 x the peer", "llama-3.2-1b": "2 x the peer",
                 "llama-3.1-8b": "15,000 tokens/s, 50 % of GEMM, 2 x the peer", "ids-lora": "5 x the peer",
                 "ids-full": "5 x the peer"}
FINETUNE_RUN = r"^(\S+) +(?:LoRA|full) batch \d+: (\S+) tokens/s, (.*)$"
FINETUNE_PEER_RUN = r"^(\S+) (?:LoRA|full) (.*): (\S+) tokens/s"
FINETUNE_SECONDS = 2  # of each case
OURS = 0.5  # of the time that is left at most, so that the peer has its turn

WORKLOADS = {"gowalla": 8192, "llama-8b": 256}  # prompts that the peer gets; its rate is compared, not its time
AIMS = {("gowalla", 2048): "10 x the peer", ("llama-8b", 64): "60 % of copy, 10 x the peer",
        ("llama-8b", 256): "10 x the peer"}

RUN = (r"^layers (\d+) width (\d+), batch (\d+), samples (\d+): \S+ s, (\S+) interactions/s.*\n"
       r"(?:  of which steps: (.*)\n)?")
PEER_RUN = r"^layers (\d+) width (\d+), samples (\d+), batch (\d+): \S+ s, (\S+) interactions/s"


def finetuning(context):
    """Whole training steps in the shapes of three language models, and of one of IDs over ragged prompts."""
    small = ["--small"] if context.small else []
    failure = None
    try:
        output = context.program("bench_finetune", "--device", context.device, *small, "all", 0.1 if small else FINETUNE_SECONDS,
                                 seconds=OURS * context.left())
    except Failed as why:
        output, failure = why.output, why
    peers = finetuning_peers(context, small)
    for name, rate, more in re.findall(FINETUNE_RUN, output, re.MULTILINE):
        peer, how = peers.get(name, ("not measured", "transformers + peft"))
        context.compare(f"fine-tuning {name}; {how}", float(rate), peer, "tokens/s", FINETUNE_AIMS.get(name, ""))
        context.figure(f"fine-tuning {name}, more", more)
    if failure:
        raise failure


def finetuning_peers(context, small):
    """The fastest way of each case: tokens a second, and which way it is."""
    output = context.peer("finetune_gpu.py", "--device", context.device, *small, "--seconds", FINETUNE_SECONDS, module="peft")
    fastest = {}
    for name, how, rate in re.findall(FINETUNE_PEER_RUN, output or "", re.MULTILINE):
        fastest[name] = max(fastest.get(name, (0.0, "")), (float(rate), how))
    return fastest


def generation(context):
    """Lists for all users of gowalla by a model of IDs, and decoding with the shape of Llama-3.1-8B."""
    all_of(*(lambda name=name: generate(context, name) for name in WORKLOADS))


def generate(context, workload):
    prompts = os.path.join(context.folder, f"prompts-{workload}.txt")
    small = ["--small"] if context.small else []
    output = context.program("bench_generation", "--device", context.device, *small, workload, prompts,
                             seconds=OURS * context.left())
    rates = peer_rates(context, workload, prompts)
    runs = re.findall(RUN, output, re.MULTILINE)
    if not runs:
        raise Failed(f"bench_generation {workload} printed no figures")
    for layers, width, batch, samples, rate, steps in runs:
        name = f"generation {workload}, {layers} layers {width} wide, batch {batch}"
        context.compare(f"{name}; transformers", float(rate), rates.get((layers, width, batch), "not measured"),
                        "items/s", AIMS.get((workload, int(batch)), ""))
        if steps:
            context.figure(f"{name}, steps alone", steps)


def peer_rates(context, workload, prompts):
    """Items a second by (layers, width, batch)."""
    output = context.peer("generation.py", prompts, "--device", context.device, "--workload",
                          "small" if context.small else workload, "--prompts-maximum", WORKLOADS[workload],
                          module="transformers")
    return {(layers, width, batch): float(rate)
            for layers, width, _, batch, rate in re.findall(PEER_RUN, output or "", re.MULTILINE)}
