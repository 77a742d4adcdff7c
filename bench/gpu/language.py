"""The language model's speed beside transformers and peft: fine-tuning and generation."""
import os
import re

from .runner import Failed, all_of

WORKLOADS = {"gowalla": 8192, "llama-8b": 256}  # prompts that the peer gets; its rate is compared, not its time
AIMS = {("gowalla", 2048): "10 x the peer", ("llama-8b", 64): "60 % of copy, 10 x the peer",
        ("llama-8b", 256): "10 x the peer"}

RUN = (r"^layers (\d+) width (\d+), batch (\d+), samples (\d+): \S+ s, (\S+) interactions/s.*\n"
       r"(?:  of which steps: (.*)\n)?")
PEER_RUN = r"^layers (\d+) width (\d+), samples (\d+), batch (\d+): \S+ s, (\S+) interactions/s"


def generation(context):
    """Lists for all users of gowalla by a model of IDs, and decoding with the shape of Llama-3.1-8B."""
    all_of(*(lambda name=name: generate(context, name) for name in WORKLOADS))


def generate(context, workload):
    prompts = os.path.join(context.folder, f"prompts-{workload}.txt")
    small = ["--small"] if context.small else []
    output = context.program("bench_generation", "--device", context.device, *small, workload, prompts)
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
