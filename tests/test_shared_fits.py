"""Fits that trials of a study have in common: each is trained once, by any number of workers at a time, in any order, killed or
not; a trial that waits for one keeps no worker from other trials."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, check, idrec, status, synthesize
from test_kill import differences

# Five fits of six trials.
GRID = """\
name: grid
data: {path: data.inter}
device: cpu
threads: 2
recommenders: [{model: bpr_mf, width: 8, epochs: 300, patience: 0}, {model: bpr_mf, width: 4, epochs: 300, patience: 0}]
experiment:
  arms: [original]
  seeds: 1
  sweep:
    recommenders[0].learning_rate: [0.001, 0.002, 0.003]
    recommenders[1].learning_rate: [0.004, 0.005]
evaluate: {k: [10]}
"""
# The first two have one fit, which takes long; their configurations do not tell.
LONG = """\
name: long
data: {path: data.inter}
device: cpu
threads: 1
recommenders: [{model: bpr_mf, width: 8, epochs: 8000, patience: 0, evaluate_every: 1000}]
experiment:
  arms: [original]
  seeds: 1
  trials_at_once: 1
  sweep_list:
  - {name: first, augment.weight: 1.0}
  - {name: second, augment.weight: 0.5}
  - {name: other, "recommenders[0].epochs": 10}
evaluate: {k: [10]}
"""
# Two trials come to two fits from either end.
CROSSED = """\
name: crossed
data: {path: data.inter}
device: cpu
threads: 1
experiment:
  arms: [original]
  seeds: 1
  trials_at_once: 2
  sweep_list:
  - {name: to, recommenders: [FITS]}
  - {name: fro, recommenders: [STIF]}
evaluate: {k: [10]}
"""


def start(folder, *arguments):
    with open(folder / f"{'-'.join(arguments).replace('/', '-')}-{time.monotonic_ns()}.txt", "w+") as output:
        process = subprocess.Popen([IDREC, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=output)
        process.said = pathlib.Path(output.name)
    return process


def wait_until(present, process, what):
    while not present() and process.poll() is None:
        time.sleep(0.01)
    check(present(), what)


def trained(study):
    """The lines of the logs that tell of a fit which was trained."""
    return sum(" train: " in line and ", seed 1:" in line
               for path in study.glob("trials/*/log.txt") for line in path.read_text().splitlines())


def check_trials(reference, study):
    names = sorted(path.name for path in (reference / "trials").iterdir())
    check(names == sorted(path.name for path in (study / "trials").iterdir()), "the trials")
    for name in names:
        found = differences(reference / "trials" / name, study / "trials" / name)
        check(not found, f"{study.name}, {name}: {found}")
        check(not (study / "trials" / name / "awaits.json").exists(), f"{study.name}, {name}: waits for something")
    check((reference / "results.json").read_bytes() == (study / "results.json").read_bytes(), f"{study.name}: the results")
    left = [path.name for path in (study / "shared").glob("*.of-*")]
    check(not left, f"halves of fits: {left}")


def attempts(study):
    """Of training, as the records of the trials have them."""
    costs = [json.loads(path.read_text())["stages"]["train"]["cost"] for path in study.glob("trials/*/manifest.json")]
    return [cost["attempts"] for cost in costs]


def test_once(folder):
    """One worker, two, and one with two trials at a time train each fit once, and have the same results."""
    (folder / "grid.yaml").write_text(GRID)
    for name, workers, at_once in (("grid-one", 1, 1), ("grid-two", 2, 1), ("grid-at-once", 1, 2)):
        words = ["run", "grid.yaml", f"output={name}", f"experiment.trials_at_once={at_once}"]
        started = [start(folder, *words) for _ in range(workers)]
        for worker in started:
            check(worker.wait(timeout=300) == 0, f"{name}: {worker.said.read_text()[-500:]}")
        check(trained(folder / name) == 5, f"{name}: {trained(folder / name)} fits are trained, 5 are needed")
        check(set(attempts(folder / name)) == {1}, f"{name}: attempts {attempts(folder / name)}")
        check_trials(folder / "grid-one", folder / name)


def start_and_stop(folder, study, *arguments):
    """Starts a worker, or a trial, and stops the process of the trial as soon as it trains; its number."""
    worker = start(folder, *arguments)
    wait_until(lambda: list((study / "shared").glob("fit-*.claim.0")), worker, "a fit is claimed")
    (claim,) = (study / "shared").glob("fit-*.claim.0")
    process = json.loads(claim.read_text())["process"]
    os.kill(process, signal.SIGSTOP)
    check(claim.exists(), "the fit is not done before the process is stopped")
    return worker, process


def states(folder, *arguments):
    told = json.loads(idrec(folder, "status", *arguments, "--json").stdout)["trials"]
    return {trial["trial"]: (trial["state"], trial.get("awaited_fits", 0)) for trial in told}


def start_two(folder, study, *command):
    """Two workers: the first is stopped while it trains, and the second comes to wait for it and does what else there is."""
    first, process = start_and_stop(folder, study, "run", *command)
    second = start(folder, "run", *command)
    wait_until(lambda: states(folder, *command)["other"] == ("done", 0), second, "the other trial is done")
    check(states(folder, *command) == {"first": ("running", 0), "second": ("waiting", 1), "other": ("done", 0)},
          f"status: {states(folder, *command)}")
    check("for 1 fit that other trials train" in idrec(folder, "status", *command).stdout, "status tells why")
    return first, process, second


def test_put_aside(folder):
    """A worker whose trial waits for the fit of another one does other trials first."""
    study = folder / "long-two"
    first, process, second = start_two(folder, study, "long.yaml", "output=long-two")
    os.kill(process, signal.SIGCONT)
    for worker in (first, second):
        check(worker.wait(timeout=300) == 0, f"a worker: {worker.said.read_text()[-500:]}")
    said = second.said.read_text()
    check("second: put aside" in said and "other: done" in said, f"the second worker: {said}")
    check("second: goes on" in said + first.said.read_text(), f"nobody goes on with it: {said}")
    check(trained(study) == 2, f"{trained(study)} fits are trained")
    check(set(attempts(study)) == {1}, f"attempts {attempts(study)}")
    check_trials(folder / "long-one", study)


def test_killed(folder):
    """The fit of a worker that was killed is trained by whoever waits for it."""
    study = folder / "long-killed"
    first, _, second = start_two(folder, study, "long.yaml", "output=long-killed")
    first.send_signal(signal.SIGKILL)
    check(first.wait(timeout=60) == -signal.SIGKILL, "the first worker is killed")
    check(second.wait(timeout=300) == 0, f"the second worker: {second.said.read_text()[-500:]}")
    check(trained(study) == 2, f"{trained(study)} fits are trained to their end")
    check_trials(folder / "long-one", study)


def test_single_trials(folder):
    """A trial that is run alone waits in its process, and that is no cost."""
    study, command = folder / "long-alone", ["run", "long.yaml", "output=long-alone"]
    first, process = start_and_stop(folder, study, *command, "--trial=first")
    aside = idrec(folder, *command, "--trial=second", "--put-aside")
    check(aside.returncode == 76 and "waits for 1 fit" in aside.stderr, f"put aside: {aside.returncode}, {aside.stderr}")
    second, log = start(folder, *command, "--trial=second"), study / "trials" / "second" / "log.txt"
    wait_until(lambda: "train: waits for 1 fit that other trials of the study train" in log.read_text(), second, "it waits")
    os.kill(process, signal.SIGCONT)
    check(second.wait(timeout=300) == 0, f"the second: {second.said.read_text()[-500:]}")
    check(first.wait(timeout=300) == 0, "the first")
    manifest = json.loads((study / "trials" / "second" / "manifest.json").read_text())
    waited, spent = manifest["clock"]["waiting"]["seconds"], manifest["stages"]["train"]["cost"]["seconds"]
    check(waited > spent, f"{waited:.3f} s of waiting, {spent:.3f} s of training")
    check(trained(study) == 1, f"{trained(study)} fits are trained")
    refused = idrec(folder, *command, "--put-aside")
    check(refused.returncode == 2 and "belong to --trial" in refused.stderr, f"without a trial: {refused.stderr}")


def test_interrupted(folder):
    """A trial goes on with the fit that another one was interrupted in, and the first takes the result."""
    study, command = folder / "long-interrupted", ["run", "long.yaml", "output=long-interrupted"]
    first = start(folder, *command, "--trial=first")
    wait_until(lambda: list((study / "shared").glob("fit-*.by")), first, "the fit is begun")
    first.send_signal(signal.SIGTERM)
    check(first.wait(timeout=60) == 130, f"the first is interrupted: {first.returncode}")
    for name in ("second", "first", "other"):
        done = idrec(folder, *command, f"--trial={name}")
        check(done.returncode == 0, f"{name}: {done.stderr[-500:]}")
    log = (study / "trials" / "second" / "log.txt").read_text()
    check("train: goes on with a fit that first began" in log, f"the second: {log}")
    check(trained(study) == 2, f"{trained(study)} fits are trained to their end")
    check(not list((study / "shared").glob("*.by")), "no note is left")
    for name in ("first", "second", "other"):
        found = differences(folder / "long-one" / "trials" / name, study / "trials" / name)
        check(not found, f"{name}: {found}")
    logs = [place / "trials" / "second" / "recommenders" / "bpr_mf" / "original" / "seed-1" / "metrics.jsonl"
            for place in (folder / "long-one", study)]
    check(logs[0].read_text() == logs[1].read_text(), "the log of the fit is that of one that was never interrupted")


def test_crossed(folder):
    """Trials that wait for each other's fits end."""
    fits = [f"{{model: bpr_mf, width: {width}, epochs: 2000, patience: 0}}" for width in (4, 6, 8, 10)]
    text = CROSSED.replace("FITS", ", ".join(fits)).replace("STIF", ", ".join(reversed(fits)))
    (folder / "crossed.yaml").write_text(text)
    started = [start(folder, "run", "crossed.yaml", "output=crossed") for _ in range(2)]
    for worker in started:
        check(worker.wait(timeout=300) == 0, f"crossed: {worker.said.read_text()[-500:]}")
    check(trained(folder / "crossed") == 4, f"{trained(folder / 'crossed')} fits are trained, 4 are needed")
    scores = [sorted(run["metrics"]["recall@10"] for run in json.loads(path.read_text())["runs"])
              for path in (folder / "crossed" / "trials").glob("*/results.json")]
    check(len(scores) == 2 and scores[0] == scores[1], f"the same fits in either order: {scores}")


def main():
    if shutil.which("h5diff") is None:
        print("no h5diff: HDF5 contents cannot be compared; install hdf5-tools")
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        synthesize(folder / "data.inter", "--users=60", "--items=40", "--interactions=12")
        test_once(folder)
        (folder / "long.yaml").write_text(LONG)
        single = idrec(folder, "run", "long.yaml", "output=long-one")
        check(single.returncode == 0, f"one worker: {single.stderr[-500:]}")
        test_put_aside(folder)
        test_killed(folder)
        test_single_trials(folder)
        test_interrupted(folder)
        test_crossed(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
