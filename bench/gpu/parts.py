"""What there is to test and to measure on a GPU, in the order in which it runs."""
import dataclasses
import functools
import gzip
import os
import re
import typing

from . import end_to_end, language
from .place import find_sanitizer
from .runner import Failed, NotMeasured, all_of, number_after, quantity


@dataclasses.dataclass
class Part:
    name: str
    budget: int  # seconds
    work: typing.Callable


def need_gpu(context):
    if context.device == "cpu":
        raise NotMeasured("no GPU")


COLLECTIVES = "test_cuda_collectives"


# ---- correctness -------------------------------------------------------------------------------------------

def operators(context):
    """Every CUDA test: the case list against the CPU, f32 and bf16, twice with the same bits."""
    programs = [path for path in context.place.programs("test_cuda_*") if path.name != COLLECTIVES]
    if not programs:
        raise Failed("there is no test_cuda_* program")
    all_of(*(functools.partial(run_cuda_test, context, program.name) for program in programs))


def run_cuda_test(context, name):
    try:
        describe_operators(context, name, context.program(name, *(["--short"] if context.small else [])))
    except Failed as why:
        describe_operators(context, name, why.output)
        wrong = dict.fromkeys(re.findall(r"^\[  FAILED  \] ([a-z]\w*)$", why.output, re.MULTILINE))
        raise Failed(f"{name}: {', '.join(wrong)}" if wrong else str(why), why.output) from None


def describe_operators(context, name, output):
    for storage in ("f32", "bf16"):
        errors = [float(error) for error in re.findall(rf" {storage} .*worst error (\S+)", output)]
        if errors:
            context.figure(f"{name}, {storage}", f"{len(errors)} families, worst normalised square error {max(errors):.1e}",
                           aim="1e-10" if storage == "f32" else "1e-4")


def collectives(context):
    """NCCL on one GPU, as one rank; more than one: not measured."""
    need_gpu(context)
    output = context.program(COLLECTIVES)
    found = re.findall(r"^(NCCL .*): collectives of 1 rank are right$", output, re.MULTILINE)
    if not found:
        raise Failed("the collectives of one rank are not told to be right", output)
    context.figure("collectives of one rank", f"right, {found[0]}")
    context.figure("collectives of several GPUs", "not measured")


def sanitizer(context):
    """compute-sanitizer on the short case list."""
    need_gpu(context)
    path = find_sanitizer()
    if not path:
        raise NotMeasured("compute-sanitizer is not there")
    all_of(*(functools.partial(run_sanitizer, context, path, tool, share)
             for tool, share in (("memcheck", 1 / 3), ("racecheck", 1 / 2), ("synccheck", 1))))


def run_sanitizer(context, path, tool, share):
    """`share` of the time that is left."""
    prefix = [path, "--tool", tool, "--error-exitcode", "9"]
    try:
        output = context.program("test_cuda_operators", "--short", prefix=prefix, seconds=share * context.left())
    except Failed as why:
        context.figure(tool, summary_of(why.output))
        raise Failed(f"{tool}: {why}") from None
    context.figure(tool, summary_of(output))


def summary_of(output):
    found = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", output)
    return found[-1] if found else "no summary"


# ---- speed -------------------------------------------------------------------------------------------------

def flags(context):
    return ["--device", context.device, *(["--small"] if context.small else [])]


def bench_operators(context):
    """Each operator's share of the copy bandwidth and of the GEMM peak; of those that work when some do not."""
    try:
        describe_speeds(context, context.program("bench_operators", *flags(context)))
    except Failed as why:
        describe_speeds(context, why.output)
        wrong = re.findall(r"^idrec: (.*)$", why.output, re.MULTILINE)
        raise Failed("; ".join(dict.fromkeys(wrong)) or str(why)) from None


def describe_speeds(context, output):
    for found in re.findall(r"^ceilings of \S+: (.*)$", output, re.MULTILINE):
        context.figure("the device at most", found)
    pattern = (r"^(\S+) +(f32|bf16) +(forward|backward) +([\d ]+?) +(\S+) ms +(\S+) GB/s +(\S+) % of copy +(\S+) GFLOP/s +"
               r"(\S+) % of GEMM")
    for row in re.findall(pattern, output, re.MULTILINE):
        family, storage, direction, size, milliseconds, bytes_rate, copy, rate, gemm = row
        sizes = re.sub(r"( 0)+$", "", size).replace(" ", "x")
        context.figure(f"{family} {storage} {direction} {sizes}",
                       f"{milliseconds:>9} ms {bytes_rate:>8} GB/s {copy:>6} % of copy {float(rate) / 1e3:>8.2f} TFLOP/s "
                       f"{gemm:>6} % of GEMM")


def recommender_data(context):
    if not context.small:
        return context.place.data / "gowalla.train.txt.gz", context.place.data / "gowalla.test.txt.gz"
    train, test = (os.path.join(context.folder, f"small.{name}.txt") for name in ("train", "test"))
    for path, first in ((train, 0), (test, 20)):
        with open(path, "w", encoding="ascii") as file:
            for user in range(50):
                items = ((user + first + step) % 50 for step in range(10 + user % 4))
                file.write(f"{user} {' '.join(map(str, items))}\n")
    return train, test


def epoch_of(context, train, settings, count):
    output = context.program("bench_recommenders", *flags(context), "epochs", train, count, 0, *settings)
    bandwidth = re.findall(r"s, (\S+ GB/s \(\S+ % of copy\)), loss", output)
    return number_after(r"median of \d+ (\S+) s", output), bandwidth[-1] if bandwidth else ""


def torch_peer(context, train, test, *options):
    """Seconds of an epoch and of a full ranking in PyTorch, or why not."""
    small = ["--epochs", 1] if context.small else []
    output = context.peer("lightgcn_torch_gpu.py", train, test, "--device", context.device, *options, *small)
    if not output:
        return "not measured", "not measured"
    return number_after(r"epoch (\S+) s of which", output), number_after(r"full ranking (\S+) s", output)


def implicit_peer(context, train, test):
    if context.device == "cpu":
        return "not measured"
    if "implicit" not in context.kept:
        output = context.peer("bpr_implicit.py", train, test, "--gpu", "--epochs", 10, module="implicit")
        context.kept["implicit"] = number_after(r"epochs, (\S+) s wall", output) if output else "not measured"
    return context.kept["implicit"]


def lightgcn_pytorch_peer(context, train, test):
    if not os.environ.get("LIGHTGCN_PYTORCH"):
        return None
    output = context.peer("lightgcn_pytorch.py", *unpacked(context, train, test), "--steps", 50, module="scipy")
    return number_after(r"steps (\S+) s$", output.strip()) if output else None


def unpacked(context, *paths):
    """LightGCN-PyTorch reads plain text."""
    targets = [os.path.join(context.folder, f"plain-{place}.txt") for place in range(len(paths))]
    for path, target in zip(paths, targets):
        with gzip.open(path) as packed, open(target, "wb") as file:
            file.write(packed.read())
    return targets


def recommenders(context):
    """BPR-MF, LightGCN and the full ranking on gowalla, beside PyTorch and implicit."""
    train, test = recommender_data(context)
    all_of(lambda: matrix_factorisation(context, train, test, 2048), lambda: matrix_factorisation(context, train, test, 65536),
           lambda: lightgcn(context, train, test), lambda: ranking(context, train, test), lambda: ranking_alone(context),
           lambda: contrastive(context, train))


def matrix_factorisation(context, train, test, batch):
    count = 1 if context.small else 5
    seconds, bandwidth = epoch_of(context, train, ["model=bpr_mf", "optimizer=adam", f"batch={batch}"], count)
    peer, _ = torch_peer(context, train, test, "--layers", 0, "--batch", batch)
    context.compare(f"BPR-MF epoch, Adam, batch {batch}, {bandwidth}; torch", seconds, peer, "s", "0.010 s",
                    lower_is_better=True)
    context.compare(f"BPR-MF epoch, batch {batch}; implicit's GPU BPR (SGD)", seconds, implicit_peer(context, train, test), "s",
                    "10 x the peer", lower_is_better=True)


def lightgcn(context, train, test, batch=2048):
    count = 1 if context.small else 5
    seconds, bandwidth = epoch_of(context, train, ["model=lightgcn", "layers=3", f"batch={batch}"], count)
    peer, context.kept["torch ranking"] = torch_peer(context, train, test, "--layers", 3, "--batch", batch)
    context.compare(f"LightGCN epoch, 3 layers, batch {batch}, {bandwidth}; torch", seconds, peer, "s", "0.5 s",
                    lower_is_better=True)
    published = lightgcn_pytorch_peer(context, train, test)
    if published:
        context.compare("LightGCN epoch; LightGCN-PyTorch", seconds, published, "s", "10 x the peer", lower_is_better=True)


def contrastive(context, train):
    for model in ("sgl", "simgcl", "xsimgcl", "ncl"):
        seconds, bandwidth = epoch_of(context, train, [f"model={model}", "layers=3"], 1)
        context.figure(f"{model} epoch, 3 layers, batch 2048, {bandwidth}", quantity(seconds, "s"))


def ranking(context, train, test):
    model = os.path.join(context.folder, "model.h5")
    context.program("bench_recommenders", *flags(context), "fit", train, "-", 1, 0, model, "model=lightgcn", "layers=3",
                    "epochs=1")
    output = context.program("bench_recommenders", *flags(context), "evaluate", train, test, model, 0)
    context.compare("full ranking of the test users; torch", number_after(r"items: (\S+) s wall", output),
                    context.kept.get("torch ranking", "not measured"), "s", "0.050 s", lower_is_better=True)


def ranking_alone(context):
    output = context.program("bench_ranking", *flags(context))
    context.figure("ranking of all users by inner products", quantity(number_after(r"top \d+: (\S+) s", output), "s"))
    products, share = number_after(r"alone (\S+) s", output), number_after(r"\((\S+) % of GEMM", output)
    context.figure("its matrix products alone", f"{quantity(products, 's')}, {share} % of GEMM")


# ---- all of it ---------------------------------------------------------------------------------------------

def all_parts():
    return [Part("operators", 40, operators), Part("collectives", 8, collectives), Part("sanitizer", 80, sanitizer),
            Part("end to end", 90, end_to_end.work), Part("stage costs", 5, end_to_end.stage_costs),
            Part("operator speed", 55, bench_operators), Part("recommenders", 60, recommenders),
            Part("fine-tuning", 100, language.finetuning), Part("generation", 100, language.generation)]
