"""bench/gpu_check on a machine without a GPU: every part at a tiny size, parts that fail or take too long, and its honesty.

The programs are those of the build under test (IDREC is its idrec).
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from checking import IDREC, SOURCE, check, status

BUILD = pathlib.Path(IDREC).parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(SOURCE / "bench"))
from gpu import end_to_end, parts, place, runner  # noqa: E402

EMULATED = BUILD / "emulated_gpu"
IDREC_EMULATED = pathlib.Path(os.environ.get("IDREC_HOST_CUDA", BUILD / "tests" / "idrec_host_cuda"))
NEED_GPU = {"operators", "collectives", "sanitizer"}


def gpu_check(output, *arguments, build=BUILD):
    command = [sys.executable, SOURCE / "bench" / "gpu_check", "--build", build, "--output", output, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "LIGHTGCN_PYTORCH"}
    environment["OMP_NUM_THREADS"] = "2"
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    written = output / "results.json"
    results = json.loads(written.read_text())["parts"] if written.exists() else []
    return finished, {result["part"]: result for result in results}


def check_smoke(scratch, has_gpu):
    finished, results = gpu_check(scratch / "smoke", "--smoke")
    check(finished.returncode == 0, f"--smoke ends with {finished.returncode}: {finished.stdout}{finished.stderr}")
    check(set(results) == {part.name for part in parts.all_parts()}, f"--smoke has the parts {sorted(results)}")
    for name, result in results.items():
        expected = "not measured" if name in NEED_GPU and not has_gpu else "ran (small)"
        check(result["status"] == expected, f"{name} is {result['status']} ({result['reason']}), not {expected}")
        check(expected == "not measured" or result["figures"], f"{name} has no figures")
    check("passed" not in finished.stdout, "tiny sizes count as passed")
    check("SMOKE" in finished.stdout, "the table does not say that it is a smoke test")
    check((scratch / "smoke" / "logs.tar.gz").exists(), "there are no logs")
    bits = [figure["value"] for figure in results["end to end"]["figures"] if figure["name"] == "killed and resumed"]
    check(bits and "the same bits" in bits[0], f"a resumed run: {bits}")


def check_emulated_gpu(scratch):
    """The way that a machine with a GPU goes, over the kernels' own source on the host; test_host_cuda_run.py has the rest."""
    build = scratch / "emulated"
    build.mkdir()
    (build / "idrec").symlink_to(IDREC_EMULATED)
    for path in EMULATED.iterdir():
        (build / path.name).symlink_to(path)
    chosen = ["operators", "operator speed", "recommenders"]
    finished, results = gpu_check(scratch / "gpu", "--smoke", *(f"--only={name}" for name in chosen), build=build)
    check(finished.returncode == 0, f"--smoke on an emulated GPU ends with {finished.returncode}: {finished.stdout}")
    check([result["status"] for result in results.values()] == ["ran (small)"] * len(chosen), "parts on an emulated GPU")


def check_long(scratch):
    finished, results = gpu_check(scratch / "long", "--smoke", "--long")
    check(finished.returncode == 0 and list(results) == ["convergence"], f"--long: {finished.stdout[-1000:]}")


def check_failing_part(scratch):
    """A program that fails is one FAILED row; the part after it runs."""
    build = scratch / "build"
    build.mkdir()
    for name in ("idrec", "bench/bench_recommenders", "bench/bench_ranking"):
        (build / pathlib.Path(name).name).symlink_to(BUILD / name)
    broken = build / "bench_operators"
    broken.write_text("#!/bin/sh\necho one device is on fire\nexit 3\n")
    broken.chmod(0o755)
    finished, results = gpu_check(scratch / "failing", "--smoke", "--only", "operator speed", "--only", "recommenders",
                                  build=build)
    check(finished.returncode == 1, f"a failed part: status {finished.returncode}")
    check(results["operator speed"]["status"] == "FAILED" and "on fire" in results["operator speed"]["reason"],
          f"a failed part: {results['operator speed']}")
    check(results["recommenders"]["status"] == "ran (small)", f"after a failed part: {results['recommenders']}")
    check("FAILED" in (scratch / "failing" / "table.txt").read_text(), "the table does not show FAILED")


def check_without_gpu(scratch):
    finished, results = gpu_check(scratch / "none")
    check(finished.returncode == 77 and "not measured" in finished.stdout and not results,
          f"without a GPU: status {finished.returncode}, {finished.stdout}")


def check_without_programs(scratch):
    finished, _ = gpu_check(scratch / "empty", "--smoke", build=scratch)
    check(finished.returncode == 1 and "no idrec in" in finished.stderr, f"without programs: {finished.stderr}")


def check_time_limit(scratch):
    def sleep(context):
        context.run(["sleep", "30"], dict(os.environ))

    context = runner.Context(place.Place(BUILD), "cpu", False, scratch)
    started = time.monotonic()
    result = runner.run_part(context, parts.Part("sleep", 1, sleep), scratch / "sleep.log", started + 100)
    check(result.status == "FAILED" and "stopped" in result.reason, f"a part out of time: {result}")
    check(time.monotonic() - started < 10, "a part out of time is not stopped")


def check_differences(scratch):
    """One changed bit in a list is found; a changed time is not one."""
    for name, seconds, byte in (("a", 1.0, b"x"), ("b", 2.0, b"x"), ("c", 1.0, b"y")):
        folder = scratch / name
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps({"runs": [{"seconds": seconds, "metrics": 1}]}))
        (folder / "top_k.tsv").write_bytes(byte)
    check(end_to_end.differences(scratch / "a", scratch / "b") == ([], 1), "runs that differ in time only")
    check(end_to_end.differences(scratch / "a", scratch / "c")[0] == ["top_k.tsv differs"], "runs that differ in a list")


def main():
    needed = [BUILD / "bench" / name for name in ("bench_operators", "bench_recommenders", "bench_ranking")]
    missing = [str(path) for path in needed if not path.exists()]
    if missing:
        sys.exit(f"not built: {', '.join(missing)}")
    devices = json.loads(subprocess.run([BUILD / "idrec", "devices", "--json"], capture_output=True, text=True).stdout)
    has_gpu = devices["cuda"]["available"]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        check_smoke(scratch, has_gpu)
        check_emulated_gpu(scratch)
        check_long(scratch)
        check_failing_part(scratch)
        check(sum(part.budget for part in parts.all_parts()) < 540, "the parts may take more than nine minutes")
        check_without_programs(scratch)
        check_time_limit(scratch)
        check_differences(scratch)
        if not has_gpu:
            check_without_gpu(scratch)
    return status()


if __name__ == "__main__":
    sys.exit(main())
