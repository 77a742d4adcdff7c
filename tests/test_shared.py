"""Stages that trials have in common: what a killed trial began is ended by another; searches of settings are shared."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, check, idrec, status, synthesize
from test_kill import without_measured
from test_sweep import BASE

LONG = BASE.replace("pretrain: {epochs: 1}", "pretrain: {epochs: 150, patience: 0}")
STUDY = """\
extends: long.yaml
experiment:
  sweep:
    recommenders[0].width: [4, 8]
"""
TUNED = BASE.replace("recommenders: [{model: bpr_mf, width: 8, epochs: 4}]",
                     "recommenders: [{model: bpr_mf, width: 8, epochs: 400, patience: 0}]") + """\
tune:
  use: true
  trials: 12
  first_epochs: 100
  space: [{key: learning_rate, low: 1.0e-4, high: 1.0e-1, scale: log}]
"""
TUNED_STUDY = """\
extends: tuned.yaml
experiment: {arms: [original], sweep: {augment.weight: [1.0, 0.5], experiment.seeds: [1, 2]}}
"""


def kill_when(folder, present, *arguments):
    """Kills a command once a file is there; whether it was there before the command ended."""
    process = subprocess.Popen([IDREC, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not present() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    return process.wait(timeout=60) == -signal.SIGKILL


def model_of(folder):
    return (folder / "language_model" / "base" / "model.safetensors").read_bytes()


def test_take_over(folder):
    """A trial goes on with the training that another one was killed in, and the killed one takes the result."""
    (folder / "long.yaml").write_text(LONG)
    (folder / "study.yaml").write_text(STUDY)
    trials = folder / "long" / "trials"
    state = trials / "width=4" / "language_model" / "pretrain_state"
    command = ["run", "study.yaml", "output=long", "--through=pretrain"]
    check(kill_when(folder, state.exists, *command, "--trial=width=4"), "killed in the middle")
    shutil.rmtree(state.with_name("pretrain_state.old"), ignore_errors=True)  # the kill came between two states
    state.rename(state.with_name("pretrain_state.old"))  # as if killed while a new state was put into its place
    state.with_name("pretrain_state.new").mkdir(exist_ok=True)
    (state.with_name("pretrain_state.new") / "state.safetensors").write_bytes(b"half of it")
    result = idrec(folder, *command, "--trial=width=8")
    check(result.returncode == 0 and "pretrain: goes on with what width=4 began" in result.stderr + result.stdout,
          f"the other trial: {result.stderr[-600:]}")
    check("going on after step" in (trials / "width=8" / "log.txt").read_text(), "training goes on from its state")
    check(not list(state.parent.glob("pretrain_state*")), "what was begun lies there once")
    result = idrec(folder, *command, "--trial=width=4")
    check(result.returncode == 0 and "pretrain: taken from" in result.stderr + result.stdout, f"the first: {result.stderr}")
    single = idrec(folder, "run", "long.yaml", "output=single")
    check(single.returncode == 0, f"a single run: {single.stderr[-300:]}")
    check(model_of(trials / "width=4") == model_of(trials / "width=8") == model_of(folder / "single"), "the same model")
    costs = [json.loads((trials / name / "manifest.json").read_text())["stages"]["pretrain"]["cost"]
             for name in ("width=4", "width=8")]
    check([cost.get("reused", False) for cost in costs] == [True, False], f"one has the cost: {costs}")
    check(not list((folder / "long" / "shared").glob("*.by")), "no note is left")


def tune_lines(study, text):
    return sum(text in path.read_text() for path in study.glob("trials/*/log.txt"))


def tables(folder):
    """The searches without their seconds."""
    return {path.relative_to(folder): [line.split("\t")[:4] for line in path.read_text().splitlines()]
            for path in folder.glob("tune/*/*/trials.tsv")}


def test_tuning(folder):
    """Trials with the same search do it once, killed or not, and have the results of runs of their own."""
    (folder / "tuned.yaml").write_text(TUNED)
    (folder / "tuned-study.yaml").write_text(TUNED_STUDY)
    study = folder / "tuned"
    command = ["run", "tuned-study.yaml", "output=tuned"]
    names = [f"weight={weight},seeds={seeds}" for weight in ("1.0", "0.5") for seeds in (1, 2)]
    begun = study / "trials" / names[0] / "tune" / "bpr_mf" / "original" / "trial-2"
    check(kill_when(folder, begun.exists, *command, f"--trial={names[0]}"), "killed in the middle of a search")
    result = idrec(folder, *command)
    check(result.returncode == 0, f"the study: {result.stderr[-500:]}")
    check(sorted(path.name for path in study.glob("trials/*")) == sorted(names), "all trials")
    done, taken = tune_lines(study, " tune: done in "), tune_lines(study, " tune: taken from ")
    check((done, taken) == (2, 2), f"searches done {done} times and taken {taken} times")
    for name in (names[1], names[2]):
        weight, seeds = name.split(",")
        single = idrec(folder, "run", "tuned.yaml", f"output=alone-{seeds}-{weight}", "experiment.arms=[original]",
                       f"augment.{weight}", f"experiment.{seeds}")
        check(single.returncode == 0, f"a run of its own: {single.stderr[-300:]}")
        own = folder / f"alone-{seeds}-{weight}"
        check(tables(own) == tables(study / "trials" / name) and tables(own), f"{name}: the search")
        runs = [json.loads((place / "results.json").read_text())["runs"] for place in (own, study / "trials" / name)]
        check(without_measured(runs[0]) == without_measured(runs[1]), f"{name}: the metrics")
    logs = list(study.glob("trials/*/tune/**/metrics.jsonl"))
    check(logs and len({path.stat().st_ino for path in logs}) == len(logs), "what is appended to is no link")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        (folder / "base.yaml").write_text(BASE)
        synthesize(folder / "data.inter", "--users=60", "--items=40", "--interactions=12")
        test_take_over(folder)
        test_tuning(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
