"""What there is to test and to measure on a GPU, in the order in which it runs."""
import dataclasses
import os
import re
import typing

from . import end_to_end
from .place import find_sanitizer
from .runner import Failed, NotMeasured, number_after, quantity


@dataclasses.dataclass
class Part:
    name: str
    budget: int  # seconds
    work: typing.Callable


def need_gpu(context):
    if context.device == "cpu":
        raise NotMeasured("no GPU")


# ---- correctness -------------------------------------------------------------------------------------------

def operators(context):
    """Every CUDA test: the case list against the CPU, f32 and bf16, twice with the same bits."""
    wrong, programs = [], context.place.programs("test_cuda_*")
    if not programs:
        raise Failed("there is no test_cuda_* program")
    skipped = []
    for program in programs:
        try:
            output = context.program(program.name, *(["--short"] if context.small else []))
            describe_operators(context, program.name, output)
        except NotMeasured as why:
            skipped.append(str(why))
        except Failed as why:
            wrong.append(str(why))
    if wrong:
        raise Failed("; ".join(wrong))
    if skipped:
        raise NotMeasured(skipped[0])


def describe_operators(context, name, output):
    for storage in ("f32", "bf16"):
        errors = [float(error) for error in re.findall(rf" {storage} .*worst error (\S+)", output)]
        if errors:
            context.figure(f"{name}, {storage}", f"{len(errors)} families, worst normalised square error {max(errors):.1e}",
                           aim="1e-10" if storage == "f32" else "1e-4")


def sanitizer(context):
    """compute-sanitizer on the short case list."""
    need_gpu(context)
    tool_path = find_sanitizer()
    if not tool_path:
        raise NotMeasured("compute-sanitizer is not there")
    wrong = []
    tools = ("memcheck", "racecheck", "synccheck")
    for place, tool in enumerate(tools):
        prefix = [tool_path, "--tool", tool, "--error-exitcode", "9"]
        try:
            output = context.program("test_cuda_operators", "--short", prefix=prefix,
                                     seconds=context.left() / (len(tools) - place))
            found = re.findall(r"ERROR SUMMARY: .*|RACECHECK SUMMARY: .*", output)
            context.figure(tool, found[-1] if found else "no summary")
        except Failed as why:
            context.figure(tool, str(why))
            wrong.append(f"{tool}: {why}")
    if wrong:
        raise Failed("; ".join(wrong))


# ---- speed -------------------------------------------------------------------------------------------------

def flags(context):
    return ["--device", context.device, *(["--small"] if context.small else [])]


def ceilings(context, output):
    found = re.findall(r"^ceilings of \S+: (.*)$", output, re.MULTILINE)
    if not found:
        raise Failed("the bench printed no ceilings")
    context.figure("the device at most", found[-1])


def bench_operators(context):
    """Each operator's share of the copy bandwidth and of the GEMM peak."""
    output = context.program("bench_operators", *flags(context))
    ceilings(context, output)
    pattern = (r"^(\S+) +(f32|bf16) +(forward|backward) +([\d ]+?) +(\S+) ms +(\S+) GB/s +(\S+) % of copy +(\S+) GFLOP/s +"
               r"(\S+) % of GEMM")
    rows = re.findall(pattern, output, re.MULTILINE)
    if not rows:
        raise Failed("bench_operators printed no figures")
    for family, storage, direction, size, milliseconds, bytes_rate, copy, rate, gemm in rows:
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
    output = context.peer("bpr_implicit.py", train, test, "--gpu", "--epochs", 10, module="implicit")
    return number_after(r"epochs, (\S+) s wall", output) if output else "not measured"


def lightgcn_pytorch_peer(context, train, test):
    if not os.environ.get("LIGHTGCN_PYTORCH"):
        return None
    output = context.peer("lightgcn_pytorch.py", *unpacked(context, train, test), "--steps", 50, module="scipy")
    return number_after(r"steps (\S+) s$", output.strip()) if output else None


def unpacked(context, *paths):
    """LightGCN-PyTorch reads plain text."""
    import gzip
    targets = [os.path.join(context.folder, f"plain-{place}.txt") for place in range(len(paths))]
    for path, target in zip(paths, targets):
        with gzip.open(path) as packed, open(target, "wb") as file:
            file.write(packed.read())
    return targets


def recommenders(context):
    """BPR-MF, LightGCN and the full ranking on gowalla, beside PyTorch and implicit."""
    train, test = recommender_data(context)
    count, batch = (1, 64) if context.small else (5, 2048)
    matrix_seconds, bandwidth = epoch_of(context, train, ["model=bpr_mf", "optimizer=adam", f"batch={batch}"], count)
    peer, _ = torch_peer(context, train, test, "--layers", 0, "--batch", batch)
    context.compare(f"BPR-MF epoch, Adam, batch {batch}, {bandwidth}; torch", matrix_seconds, peer, "s", "0.010 s",
                    lower_is_better=True)
    context.compare("BPR-MF epoch; implicit's GPU BPR (SGD)", matrix_seconds, implicit_peer(context, train, test), "s",
                    "10 x the peer", lower_is_better=True)
    graph_settings = ["model=lightgcn", "layers=3", f"batch={batch}"]
    graph_seconds, bandwidth = epoch_of(context, train, graph_settings, count)
    peer, peer_ranking = torch_peer(context, train, test, "--layers", 3, "--batch", batch)
    context.compare(f"LightGCN epoch, 3 layers, batch {batch}, {bandwidth}; torch", graph_seconds, peer, "s", "0.5 s",
                    lower_is_better=True)
    published = lightgcn_pytorch_peer(context, train, test)
    if published:
        context.compare("LightGCN epoch; LightGCN-PyTorch", graph_seconds, published, "s", "10 x the peer",
                        lower_is_better=True)
    ranking(context, train, test, graph_settings, peer_ranking)


def ranking(context, train, test, settings, peer):
    model = os.path.join(context.folder, "model.h5")
    context.program("bench_recommenders", *flags(context), "fit", train, "-", 1, 0, model, *settings, "epochs=1")
    output = context.program("bench_recommenders", *flags(context), "evaluate", train, test, model, 0)
    context.compare("full ranking of the test users; torch", number_after(r"items: (\S+) s wall", output), peer, "s",
                    "0.050 s", lower_is_better=True)
    output = context.program("bench_ranking", *flags(context))
    context.figure("ranking of all users by inner products", quantity(number_after(r"top \d+: (\S+) s", output), "s"))
    products, share = number_after(r"alone (\S+) s", output), number_after(r"\((\S+) % of GEMM", output)
    context.figure("its matrix products alone", f"{quantity(products, 's')}, {share} % of GEMM")


# ---- all of it ---------------------------------------------------------------------------------------------

def all_parts():
    return [Part("operators", 40, operators), Part("sanitizer", 80, sanitizer),
            Part("end to end", 90, end_to_end.work), Part("stage costs", 5, end_to_end.stage_costs),
            Part("operator speed", 55, bench_operators), Part("recommenders", 50, recommenders)]
