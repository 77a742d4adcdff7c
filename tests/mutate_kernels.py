#!/usr/bin/env python3
"""Does a test notice when a kernel is wrong? Every barrier, bound, mask, loop end and index of the CUDA kernels is
broken once, one at a time; the kernels are compiled for the host again and the tests of their operators run.

    tests/mutate_kernels.py --build BUILD [--few] [--only REGEX] [--list] [--jobs N] [--log FILE]

BUILD is a folder of this project built with Ninja. A fault that no test notices is listed as survived; the exit status
is 1 when there is one that ACCEPTED does not explain. Nothing in the source tree is touched.
"""

import argparse
import concurrent.futures
import datetime
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent
OPERATORS, ROWS, PRIMITIVES, MMA = (
    f"test_host_cuda_{name}" for name in ("operators", "rows", "primitives", "mma")
)
COMPILE_SECONDS, TEST_SECONDS = 300, 240
UNITS_OF_A_HEADER = 3

# Kernel files without an operator of their own: the families that run them.
FAMILIES_OF_PARTS = {"scan.cu": ["gather"], "sort.cu": ["gather"], "attention_tensor_core.cu": ["attention bf16"]}
# Headers that no kernel file includes itself, and those that the test of building blocks includes.
UNITS_OF_PARTS = {"portable.cuh": ["elementwise.cu"], "mma.cuh": ["attention_tensor_core.cu"]}
BUILDING_BLOCKS = ("warp.cuh", "scan.cuh", "sort.cuh")

# Faults that no test can notice, and why. #n: only the n-th of those that read the same.
SAME_VALUE = "all threads write the same value"
VOTES_WAIT = "the votes that follow wait too; on a GPU they order no memory"
SAME_SUM = "the same whole numbers are added, one by one"
STEPS = "the step divides the end"
UNUSED_COPY = "copies a step that is not used"
NOTHING_COPIED = "where nothing is copied from is of no meaning"
WORSE_BOUND = "any bound that is not too high leads to the same candidates, a low one more slowly"
NOTHING_TAKEN = "differs only where nothing was taken, and such a sum is not used"
ACCEPTED = {
    "attention.cu loop: `column < Tiling::WIDTH` -> `column + 1 < Tiling::WIDTH`": STEPS,
    "attention.cu bound: `place.tile >= place.count` -> `false`": "a short cut; a tile without rows writes none",
    "attention.cu bound: `thread_column() == 0` -> `true`": SAME_VALUE,
    "attention.cu bound: `column == 0` -> `true`": SAME_VALUE,
    "attention.cu choice: `o.bidirectional` -> `true` #1": "tiles behind a causal query are hidden by its last key",
    "attention.cuh choice: `passed > 0` -> `true`": "the first lane's sequence always passes",
    "attention_tensor_core.cu choice: `there` -> `true`": NOTHING_COPIED,
    "attention_tensor_core.cu loop: `n < tiles` -> `n + 1 < tiles` #2": STEPS,
    "attention_tensor_core.cu loop: `k < tiles` -> `k + 1 < tiles`": STEPS,
    "attention_tensor_core.cu loop: `n < WIDTH / 8` -> `n + 1 < WIDTH / 8` #1": STEPS,
    "attention_tensor_core.cu bound: `tile < own_tile` -> `true`": UNUSED_COPY,
    "attention_tensor_core.cu bound: `lane_member() == 0` -> `true`": SAME_VALUE,
    "attention_tensor_core.cu bound: `step + 1 < steps` -> `true` #1": UNUSED_COPY,
    "attention_tensor_core.cu bound: `distance < KEYS` -> `true`": "hides nothing where it is not needed",
    "attention_tensor_core.cu bound: `distance < TILE` -> `true`": "hides nothing where it is not needed",
    "attention_decode.cu choice: `maxima[i] > -INFINITY` -> `true`": NOTHING_TAKEN,
    "attention_decode.cu choice: `total.sum > 0.0f` -> `true`": "a row reads its own token at least",
    "attention_decode.cu bound: `(first > 0 && first >= last)` -> `false`": "a short cut; a part of no positions is not read",
    "binary_cross_entropy.cu bound: `lane_index() == 0` -> `true`": SAME_VALUE,
    "bpr.cu bound: `first == 0` -> `true`": SAME_VALUE,
    "cross_entropy.cu barrier: `__syncthreads()` -> `nothing` #1": "the one after it separates the same",
    "cross_entropy.cu bound: `threadIdx.x == 0` -> `true`": SAME_VALUE,
    "mma.cuh choice: `there` -> `true`": "no host runs PTX; left to the tests on a GPU",
    "log_softmax.cu choice: `forbidden` -> `true`": "there are no words then: NULL plus 0",
    "softmax.cuh choice: `running.maximum > -INFINITY` -> `true`": NOTHING_TAKEN,
    "spmm.cu choice: `row < matrix.rows` -> `true`": "not used beyond the rows, and compilers leave such a load out",
    "gather.cu bound: `place < CHUNK` -> `false`": "a short cut; reads before the list, where no index stands",
    "gather.cu bound: `sorted.keys[place - CHUNK] != key` -> `false`": "a short cut",
    "gather.cu bound: `thread == 0` -> `true`": SAME_VALUE,
    "optimizer.cu bound: `threadIdx.x == 0` -> `true`": SAME_VALUE,
    "rmsnorm.cu bound: `place.member == 0` -> `true`": SAME_VALUE,
    "rmsnorm.cu bound: `chunks == 0` -> `true`": "reads twice what is in registers",
    "sample.cu bound: `by_column` -> `false` #2": SAME_SUM,
    "sample.cu bound: `bucket == LAST_BUCKET` -> `false`": SAME_SUM,
    "sample.cu bound: `threadIdx.x == 0` -> `true` #1": SAME_VALUE,
    "sample.cu bound: `threadIdx.x == 0` -> `true` #2": SAME_VALUE,
    "sample.cu bound: `threadIdx.x == 0` -> `true` #3": SAME_VALUE,
    "sample.cu bound: `threadIdx.x == 0` -> `true` #4": SAME_VALUE,
    "sample.cu bound: `values[i] > -INFINITY` -> `true` #2": "what is forbidden weighs nothing",
    "sample.cu bound: `settings.top_p < 1.0f` -> `true`": "a short cut: all of the mass is what is left",
    "sample.cu choice: `forbidden` -> `true`": "there are no words then: NULL plus 0",
    "select.cuh bound: `goal <= sum + own` -> `true`": "all threads before it find the same crossing",
    "sample_negatives.cu bound: `first == 0` -> `true`": SAME_VALUE,
    "scan.cu bound: `threadIdx.x == 0` -> `true`": SAME_VALUE,
    "sort.cu barrier: `__syncwarp()` -> `nothing` #1": VOTES_WAIT,
    "sort.cu barrier: `__syncwarp()` -> `nothing` #3": VOTES_WAIT,
    "sort.cu bound: `valid` -> `true`": "adds nothing",
    "topk.cu choice: `best[i] > c` -> `true`": WORSE_BOUND,
    "topk.cu bound: `wanted <= THREADS / 4` -> `true`": WORSE_BOUND,
    "topk.cu loop: `i < PACK` -> `i + 1 < PACK` #2": WORSE_BOUND,
    "topk.cu choice: `best[0] > best[i]` -> `true`": WORSE_BOUND,
    "topk.cu barrier: `__syncthreads()` -> `nothing` #3": "those of block_narrow() separate the same",
    "topk.cu bound: `threadIdx.x == 0` -> `true`": SAME_VALUE,
    "unit_rows.cu bound: `lane_index() == 0` -> `true`": SAME_VALUE,
    "warp.cuh loop: `distance < warp_width` -> `distance + 1 < warp_width`": "distances are powers of two",
    "warp.cuh bound: `lane_index() == 0` -> `true`": SAME_VALUE,
    "warp.cuh index: `0` -> `0 + 1`": "any warp's maximum fills the unused lanes",
}

# What --few runs: (file, kind, which of its kind).
FEW = [
    ("optimizer.cu", "bound", 0),
    ("scan.cuh", "barrier", 1),
    ("sort.cu", "barrier", 1),
    ("swiglu.cu", "bound", 0),
    ("warp.cuh", "barrier", 1),
]


class Fault:
    """Replaces text[begin:end] of a file by `replacement`."""

    def __init__(self, path, text, kind, begin, end, replacement):
        self.path, self.text, self.kind = path, text, kind
        self.begin, self.end, self.replacement = begin, end, replacement
        self.line = text.count("\n", 0, begin) + 1
        self.number = 1  # among those of the file that read the same

    def mutated(self):
        return self.text[: self.begin] + self.replacement + self.text[self.end :]

    def describe(self, line=True):
        old = " ".join(self.text[self.begin : self.end].split())
        place = f"{self.path.name}:{self.line}" if line else self.path.name
        return f"{place} {self.kind}: `{old}` -> `{self.replacement or 'nothing'}`"


# ---- where kernels are, and what in them can be broken ----


def without_comments(text):
    """The same text, of the same length, with comments, strings and preprocessor lines blanked."""
    blank = lambda match: re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*', blank, text, flags=re.S | re.M)


def closing(code, opening):
    """The place of the bracket that closes the one at `opening`."""
    pairs = {"(": ")", "[": "]", "{": "}"}
    depth = 0
    for place in range(opening, len(code)):
        depth += (code[place] == code[opening]) - (code[place] == pairs[code[opening]])
        if depth == 0:
            return place
    raise ValueError("brackets do not match")


def device_functions(code):
    """(begin, body, end) of the functions that run on the device."""
    place = 0
    while match := re.compile(r"__(?:global|device)__\b").search(code, place):
        body = match.end()
        while body < len(code) and code[body] not in "{;":
            body = closing(code, body) + 1 if code[body] in "([" else body + 1
        place = body + 1
        if body < len(code) and code[body] == "{":
            place = closing(code, body)
            yield match.start(), body, place


def split(code, begin, end, operator):
    """The parts of code[begin:end] between `operator` outside of brackets."""
    parts, start, place = [], begin, begin
    while place < end:
        if code[place] in "([{":
            place = closing(code, place)
        elif code.startswith(operator, place):
            parts.append((start, place))
            start = place = place + len(operator)
            continue
        place += 1
    return parts + [(start, end)]


def trimmed(code, begin, end):
    while begin < end and code[begin].isspace():
        begin += 1
    while end > begin and code[end - 1].isspace():
        end -= 1
    return begin, end


def condition_faults(code, begin, end, alone):
    """Each part of a condition is left out; a condition of one part becomes `alone`."""
    for operator, neutral in (("||", "false"), ("&&", "true")):
        parts = split(code, begin, end, operator)
        if len(parts) > 1:
            return [(*trimmed(code, *part), neutral) for part in parts]
    return [(*trimmed(code, begin, end), alone)]


def faults_of_ifs(code, body, end):
    for match in re.compile(r"\bif \(").finditer(code, body, end):
        close = closing(code, match.end() - 1)
        leaves = re.compile(r"\s*\{?\s*(return|continue|break)\b").match(code, close + 1)
        for fault in condition_faults(code, match.end(), close, "false" if leaves else "true"):
            yield "bound", *fault


def choice_begin(code, question, body):
    """Where the condition of a ?: begins, walking back from its question mark."""
    place = question
    while place > body:
        if code[place - 1] in "([{,;" or re.search(r"(?:[^=<>!]=|\breturn)\s+$", code[max(body, place - 80) : place]):
            break
        depth = 0
        while True:
            place -= 1
            depth += (code[place] in ")]") - (code[place] in "([")
            if depth == 0:
                break
    return place


def faults_of_choices(code, body, end):
    for match in re.compile(r"\s\? ").finditer(code, body, end):
        begin = choice_begin(code, match.start(), body)
        if "constexpr" not in re.split(r"[;{}]", code[:begin])[-1]:
            for fault in condition_faults(code, begin, match.start(), "true"):
                yield "choice", *fault


def faults_of_loops(code, body, end):
    for match in re.compile(r"\bfor \(").finditer(code, body, end):
        clauses = split(code, match.end(), closing(code, match.end() - 1), ";")
        if len(clauses) == 3 and " < " in code[slice(*clauses[1])]:
            begin, last = trimmed(code, *clauses[1])
            yield "loop", begin, last, code[begin:last].replace(" < ", " + 1 < ", 1)


def faults_of_barriers(code, body, end):
    for match in re.compile(r"__sync(?:threads|warp)\(\)").finditer(code, body, end):
        yield "barrier", match.start(), match.end(), ""


def faults_of_packs(code, body, end):
    """The bound of an access to several elements is its last argument, unless that is their constant number."""
    for match in re.compile(r"\b(?:load|store)_values<(?:packed|\(\w+ > 1\))>\(").finditer(code, body, end):
        begin, last = trimmed(code, *split(code, match.end(), closing(code, match.end() - 1), ",")[-1])
        if not re.fullmatch(r"[A-Z]\w*", code[begin:last]):
            yield "bound", begin, last, "1 << 20"


def faults_of_indices(code, begin, body, end):
    """Subscripts of parameters and of shared memory move by one."""
    arrays = set(re.findall(r"\*(?:const )?(\w+)(?=[,)])", code[begin:body]))
    arrays |= set(re.findall(r"\b(?:SHARED_ARRAY|DYNAMIC_SHARED)\([^,]+, (\w+)", code[body:end]))
    for match in re.compile(r"\b(\w+)\[").finditer(code, body, end):
        if match.group(1) in arrays:
            close = closing(code, match.end() - 1)
            yield "index", match.end(), close, f"{code[match.end():close]} + 1"


def faults_of(path):
    text = path.read_text()
    code = without_comments(text)
    found = {}
    for begin, body, end in device_functions(code):
        for kind, first, last, replacement in (
            *faults_of_barriers(code, body, end),
            *faults_of_ifs(code, body, end),
            *faults_of_choices(code, body, end),
            *faults_of_loops(code, body, end),
            *faults_of_packs(code, body, end),
            *faults_of_indices(code, begin, body, end),
        ):
            found[first, last, replacement] = Fault(path, text, kind, first, last, replacement)
    faults, same = [found[place] for place in sorted(found)], {}
    for fault in faults:
        fault.number = same[fault.describe(line=False)] = same.get(fault.describe(line=False), 0) + 1
    return faults


# ---- building and testing ----


class Build:
    """The commands of a Ninja build that compile kernels for the host and link the test programs."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        self.compile = {}
        for entry in json.loads((self.folder / "compile_commands.json").read_text()):
            if re.search(r"host_cuda(?:_primitives)?\.dir/", entry["command"]):
                self.compile[pathlib.Path(entry["file"]).name] = entry["command"], entry["file"]

    @functools.cache
    def link_command(self, program):
        commands = subprocess.run(
            ["ninja", "-C", str(self.folder), "-t", "commands", f"tests/{program}"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        return next(line for line in reversed(commands) if f"-o tests/{program} " in line)

    def compile_fault(self, fault, unit, scratch):
        """Compiles `unit` with the faulty file in front of the true one. False when it does not compile."""
        command, source = self.compile[unit]
        (scratch / "cuda").mkdir()
        (scratch / "cuda" / fault.path.name).write_text(fault.mutated())
        command = re.sub(r"^\S*ccache ", "", re.sub(r" -M[DTF]+(?: \S+\.[od])*", "", command))
        command = re.sub(r" -O[23]\b", " -O1", re.sub(r" -o \S+", f" -o {scratch / 'unit.o'}", command))
        if fault.path.name == unit:
            command = command.replace(f" -c {source}", f" -c {scratch / 'cuda' / unit}")
        command = command.replace(f"-I{SOURCE}", f"-I{scratch} -I{SOURCE}", 1)
        return run(command, self.folder, COMPILE_SECONDS).returncode == 0

    def link_fault(self, program, unit, scratch):
        """The faulty object first, so that its copies of inline functions are the ones that all others use."""
        command = re.sub(rf" \S*\.dir/(?:\S*/)?{re.escape(unit)}\.o", "", self.link_command(program))
        place = re.search(r" \S+\.o\b", command).start()
        command = f"{command[:place]} {scratch / 'unit.o'}{command[place:]}"
        command = command.replace(f"-o tests/{program} ", f"-o {scratch / program} ")
        result = run(command, self.folder, COMPILE_SECONDS)
        if result.returncode != 0:
            raise RuntimeError(f"cannot link {program}: {result.stderr}")

    def failing_tests(self, tests):
        """Those of (program, argument or None) that fail as built."""
        return [
            " ".join(filter(None, test))
            for test in sorted(tests, key=str)
            if run([self.folder / "tests" / test[0], *(test[1] or "").split()], self.folder, TEST_SECONDS).returncode
        ]


def run(command, folder, seconds):
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    return subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env=environment,
        timeout=seconds,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


# ---- which tests run a kernel ----


def operators_of_families():
    """The operators that each family of tests/operator_cases.h calls."""
    text = (SOURCE / "tests" / "operator_cases.h").read_text()
    functions = dict(re.findall(r"^static void (\w+)\([^)]*\)\n\{(.*?)^\}", text, flags=re.S | re.M))
    called = {name: set(re.findall(r"\bop_(\w+)\(", body)) for name, body in functions.items()}
    families = re.findall(r'\{"(\w+)",\s*\w+,\s*(\w+),\s*(\w+),', text)
    return {name: called.get(forward, set()) | called.get(backward, set()) for name, forward, backward in families}


FAMILIES = operators_of_families()


def families_of(unit):
    """The families that are named after an operator of the file, or else all that call it."""
    families = list(FAMILIES_OF_PARTS.get(unit, []))
    for operator in re.findall(r"^void cuda_(\w+)\(", (SOURCE / "cuda" / unit).read_text(), flags=re.M):
        callers = [family for family, operators in FAMILIES.items() if operator in operators]
        named = [family for family in callers if operator.startswith(family) or family.startswith(operator)]
        families += [family for family in named or callers if family not in families]
    return families


def units_of(path):
    """The files that are compiled, one after the other, to show a fault of `path`."""
    if path.suffix == ".cu":
        return [path.name]
    if path.name in UNITS_OF_PARTS:
        return UNITS_OF_PARTS[path.name]
    kernels = sorted((SOURCE / "cuda").glob("*.cu"), key=lambda kernel: kernel.stat().st_size)
    users = [kernel.name for kernel in kernels if f'"cuda/{path.name}"' in kernel.read_text()]
    users = [f"{PRIMITIVES}.cpp"] * (path.name in BUILDING_BLOCKS) + [user for user in users if families_of(user)]
    return users[:UNITS_OF_A_HEADER]


def tests_of(unit):
    """(program, argument or None) that run the kernels of a file."""
    if unit.endswith(".cpp"):
        return [(PRIMITIVES, None)]
    own = f"test_host_cuda_{pathlib.Path(unit).stem}"
    programs = [PRIMITIVES] * (unit in ("scan.cu", "sort.cu")) + [MMA] * (unit == "attention_tensor_core.cu") + [ROWS]
    programs += [own] * (SOURCE / "tests" / f"{own}.c").exists()
    return [(OPERATORS, family) for family in families_of(unit)] + [(program, None) for program in programs]


def complaint(result):
    """The line in which a failed test says why."""
    lines = (result.stderr + "\n" + result.stdout).splitlines()
    for sign in ("host_cuda:", "error of", "depends on", "schedule", "ERROR: "):
        for line in lines:
            if sign in line:
                return line[line.index(sign) if sign == "host_cuda:" else 0 :].strip()[:110]
    return f"status {result.returncode}"


def failure_of(build, fault, unit):
    """How the first test that notices says so, None when none does, False when the fault is no program."""
    with tempfile.TemporaryDirectory(prefix="kernel-fault-") as folder:
        scratch = pathlib.Path(folder)
        if not build.compile_fault(fault, unit, scratch):
            return False
        for program, family in tests_of(unit):
            if not (scratch / program).exists():
                build.link_fault(program, unit, scratch)
            try:
                result = run([scratch / program, *(family or "").split()], scratch, TEST_SECONDS)
            except subprocess.TimeoutExpired:
                return f"{family or program}: does not end"
            if result.returncode != 0:
                return f"{family or program}: {complaint(result)}"
    return None


def verdict(build, fault):
    """(outcome, detail): noticed, survived, accepted, or not built when the fault is no program."""
    built = False
    for unit in units_of(fault.path):
        failure = failure_of(build, fault, unit)
        if failure:
            return "noticed", failure
        built = built or failure is None
    if not built:
        return "not built", ""
    text = fault.describe(line=False)
    reason = ACCEPTED.get(text) or ACCEPTED.get(f"{text} #{fault.number}")
    return ("accepted", reason) if reason else ("survived", "")


def chosen_faults(arguments):
    paths = sorted([*(SOURCE / "cuda").glob("*.cu"), *(SOURCE / "cuda").glob("*.cuh")])
    faults = {path.name: faults_of(path) for path in paths}
    if arguments.few:
        return [[f for f in faults[name] if f.kind == kind][number] for name, kind, number in FEW]
    every = [fault for name in faults for fault in faults[name]]
    return [fault for fault in every if not arguments.only or re.search(arguments.only, fault.describe())]


def commit():
    command = ["git", "-C", str(SOURCE), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", required=True, help="a folder of this project built with Ninja")
    parser.add_argument("--few", action="store_true", help="a handful of faults")
    parser.add_argument("--only", help="the faults whose description matches")
    parser.add_argument("--list", action="store_true", help="print the faults and do nothing")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--log", help="append the table to this file too")
    arguments = parser.parse_args()
    faults = chosen_faults(arguments)
    if arguments.list:
        print("\n".join(fault.describe() for fault in faults))
        return 0
    if not (pathlib.Path(arguments.build) / "build.ninja").exists():
        print(f"{arguments.build} is not built with Ninja: skipped")
        return 77
    build = Build(arguments.build)
    failing = build.failing_tests({test for fault in faults for unit in units_of(fault.path) for test in tests_of(unit)})
    if failing:
        print(f"fails without any fault: {failing}")
        return 1
    counts = {"noticed": 0, "survived": 0, "accepted": 0, "not built": 0}
    with (
        concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool,
        open(arguments.log or os.devnull, "a", encoding="utf-8") as log,
    ):

        def report(line):
            print(line, flush=True)
            print(line, file=log, flush=True)

        report(f"# {datetime.date.today()}, commit {commit()}: {len(faults)} faults")
        for fault, (outcome, detail) in zip(faults, pool.map(lambda f: verdict(build, f), faults)):
            counts[outcome] += 1
            report(f"{outcome:9}  {fault.describe()}" + (f"  ({detail})" if detail else ""))
        report("# " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    return 1 if counts["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
