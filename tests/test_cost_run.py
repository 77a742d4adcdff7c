"""What a run costs: rows that add up to the wall clock, of one process or several, interrupted, killed, and of trials that
share stages; operations that do not depend on how many fits work at a time; gain for the time against tuning."""

import json
import math
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, check, status, synthesize

CONFIG = """
name: cost
seed: 7
data: {{path: {data}, split: {{method: random, ratios: [0.8, 0.1, 0.1]}}}}
language_model: {{layers: 2, width: 32, heads: 2}}
pretrain: {{epochs: 10}}
finetune: {{epochs: 2}}
generate: {{method: sampling, contexts: 2, samples: 4, max_items: 10}}
augment: {{per_user: [1, 5]}}
recommenders:
- {{model: bpr_mf, width: 16, epochs: 40}}
- {{model: lightgcn, width: 16, layers: 2, epochs: 20}}
experiment: {{seeds: 2}}
"""
STAGES = ["prepare", "pretrain", "finetune", "generate", "augment", "train", "evaluate", "report"]
LANGUAGE = ["pretrain", "finetune", "generate", "augment"]
BEAT = 5  # METER_SECONDS of experiments/meter.h


def command(config, folder, *settings, stage="run"):
    return [IDREC, stage, str(config), f"output={folder}", *settings]


def run(config, folder, *settings, stage="run"):
    """Runs and returns the seconds that the process took."""
    started = time.monotonic()
    done = subprocess.run(command(config, folder, *settings, stage=stage), capture_output=True, text=True, timeout=500)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"{folder.name} failed with {done.returncode}: {done.stderr[-2000:]}")
    return seconds


def stop(config, folder, when, sent, *settings):
    """Runs, sends a signal after so many seconds, and returns those that the process took."""
    started = time.monotonic()
    process = subprocess.Popen(command(config, folder, *settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(when)
    process.send_signal(sent)
    code = process.wait(timeout=300)
    check(code == (-signal.SIGKILL if sent == signal.SIGKILL else 130), f"{folder.name}: stopped with {code}")
    return time.monotonic() - started


def load(folder, name="cost.json"):
    return json.loads((folder / name).read_text())


def row_of(costs, stage):
    return next((row for row in costs["rows"] if row["stage"] == stage), None)


def spent(costs):
    return sum(row["seconds"] - row.get("elsewhere", {"seconds": 0})["seconds"] for row in costs["rows"]
               if not row.get("reused"))


def check_sum(costs, measured, what):
    """The rows, the clock in the folder, and a clock outside."""
    check(math.isclose(spent(costs), costs["wall_seconds"], rel_tol=1e-9), f"{what}: rows {spent(costs)}, "
          f"wall clock {costs['wall_seconds']}")
    tolerance = max(0.02 * measured, 0.2)
    check(abs(costs["wall_seconds"] - measured) <= tolerance, f"{what}: {costs['wall_seconds']} s counted, {measured} s took")
    check(all(row["seconds"] > 0 for row in costs["rows"]), f"{what}: a row without time")


def test_one_process(scratch, config):
    folder = scratch / "plain"
    measured = run(config, folder)
    costs = load(folder)
    check_sum(costs, measured, "one process")
    check([row["stage"] for row in costs["rows"]] == [*STAGES, "other"], f"rows {[row['stage'] for row in costs['rows']]}")
    check(row_of(costs, "other")["seconds"] < 0.1 * measured + 0.5, "most of the time is that of some stage")
    check(costs["processes"] == 1 and costs["killed"] == 0, "one process")
    check(not (folder / "attempt.json").exists(), "nothing is left of the process")
    for stage in STAGES:
        row = row_of(costs, stage)
        check(row["attempts"] == 1 and 1e6 < row["peak_memory_bytes"] < 1e10, f"{stage}: attempts and memory")
        check(row["peak_device_memory_bytes"] is None, f"{stage}: a CPU has no memory of its own")
        check((row["energy_joules"] is None) == (row["energy_source"] is None), f"{stage}: energy and its source")
        computes = stage in ("pretrain", "finetune", "generate", "train")
        check((1e6 if computes else 0) <= row["flops"] <= (1e13 * row["seconds"] if computes else 0),
              f"{stage}: {row['flops']} operations")
        check((row["tokens"] > 0) == (stage in LANGUAGE[:3]), f"{stage}: tokens")
    rows = load(folder, "results.json")["cost"]
    check([row["stage"] for row in rows] == STAGES[:6] and all(row == row_of(costs, row["stage"]) for row in rows),
          "results.json has the same rows of the stages before evaluate")
    report = (folder / "report.md").read_text()
    check("report (until now)" in report and "| together |" in report and "Gain for the time" in report
          and "were not tuned" in report, "the report has the costs")
    before = (folder / "cost.json").read_bytes(), (folder / "manifest.json").read_bytes()
    run(config, folder)
    check(before == ((folder / "cost.json").read_bytes(), (folder / "manifest.json").read_bytes()),
          "nothing to do leaves the costs as they are")
    return folder, measured


def test_operations(scratch, config, folder):
    """The sum over all backends of the fits."""
    alone = scratch / "alone"
    shutil.copytree(folder, alone)
    shutil.rmtree(alone / "recommenders")
    run(config, alone, "experiment.parallel=1")
    flops = [row_of(load(each), "train")["flops"] for each in (folder, alone)]
    check(math.isclose(*flops, rel_tol=1e-9), f"operations of training: {flops}")
    check(row_of(load(alone), "train")["at_once"] == 1, "one fit at a time")


def test_other_settings(config, folder, measured):
    trained = row_of(load(folder), "train")["seconds"]
    measured += run(config, folder, "experiment.seeds=3")
    costs = load(folder)
    check_sum(costs, measured, "other settings")
    check(costs["processes"] == 2, f"{costs['processes']} processes")
    check(row_of(costs, "replaced")["seconds"] > trained, "what the stages before took is kept")


def test_interrupted(scratch, config):
    folder, whole = scratch / "interrupted", scratch / "whole"
    long = "pretrain.epochs=80", "pretrain.patience=0"
    measured = stop(config, folder, 1.2, signal.SIGTERM, *long) + run(config, folder, *long, stage="pretrain")
    costs = load(folder)
    check_sum(costs, measured, "interrupted")
    row = row_of(costs, "pretrain")
    check(row["attempts"] == 2 and costs["processes"] == 2 and costs["killed"] == 0, f"two attempts: {row}")
    run(config, whole, stage="prepare")
    run(config, whole, *long, stage="pretrain")
    once = row_of(load(whole), "pretrain")
    check(math.isclose(row["flops"], once["flops"], rel_tol=0.02), f"operations: {row['flops']}, at once {once['flops']}")
    check(row["tokens"] == once["tokens"], f"tokens: {row['tokens']}, at once {once['tokens']}")


def test_killed(scratch, config):
    folder = scratch / "killed"
    long = "pretrain.epochs=100000", "pretrain.patience=0"
    lived = stop(config, folder, BEAT + 2.5, signal.SIGKILL, *long)
    left = load(folder, "attempt.json")
    check(left["stage"] == "pretrain" and lived - BEAT - 2.5 < left["spent"]["seconds"] <= lived, f"left behind: {left}")
    counted = left["spent"]["seconds"]
    lived = stop(config, folder, 2.0, signal.SIGTERM, *long)
    costs = load(folder)
    check_sum(costs, counted + lived, "killed")
    check(costs["killed"] == 1 and costs["processes"] == 2, "one of two processes was killed")
    row = row_of(costs, "pretrain")
    check(row["attempts"] == 2 and row["seconds"] > left["spent"]["seconds"] - left["began"]["seconds"] + 1, "both attempts")


def test_left_behind(config, folder):
    """What a killed process left counts once, and what the manifest has of it not again."""
    manifest = load(folder, "manifest.json")
    clock = manifest["clock"]
    session = clock["session"]

    def after(name, seconds, stage, began):
        left = {"session": name, "spent": {"seconds": seconds, "energy_joules": None}, "stage": stage,
                "began": {"seconds": began, "energy_joules": None}, "peak_memory_bytes": 5, "energy_source": None}
        (folder / "attempt.json").write_text(json.dumps(left))
        run(config, folder, "experiment.seeds=3")
        check(not (folder / "attempt.json").exists(), "attempt.json is taken")
        return load(folder, "manifest.json")

    before = clock["spent"]["seconds"]
    seen = after(session["name"], session["spent"]["seconds"] - 0.01, "train", 0.0)
    check(seen["clock"]["spent"]["seconds"] == before and seen["clock"]["killed"] == 1, "counted already")
    seen = after(session["name"], session["spent"]["seconds"] + 10, None, 0.0)
    check(math.isclose(seen["clock"]["spent"]["seconds"], before + 10), "ten seconds after the last that was counted")
    seen = after("another", 7, "train", 1.0)
    check(math.isclose(seen["clock"]["spent"]["seconds"], before + 17) and seen["clock"]["killed"] == 3, "another process")
    check(seen["stages"] == manifest["stages"], "a complete stage has all of its time")
    (folder / "attempt.json").write_text("{")
    run(config, folder, "experiment.seeds=3")
    check(not (folder / "attempt.json").exists(), "a damaged file is removed")


def trial_seconds(folder, recommender):
    return [json.loads(path.read_text())["seconds"]
            for path in (folder / "recommenders" / recommender).glob("trial-*/seed-*/metrics.json")]


def check_efficiency(folder):
    results = load(folder, "results.json")
    rows = {row["stage"]: row for row in results["cost"]}
    check([entry["recommender"] for entry in results["efficiency"]] == ["bpr_mf", "lightgcn"], "a line each")
    for entry in results["efficiency"]:
        name = entry["recommender"]
        fits = trial_seconds(folder, name)
        seconds = sum(rows[stage]["seconds"] for stage in LANGUAGE) + sum(fits) / rows["train"]["at_once"]
        check(len(fits) > 0 and math.isclose(entry["seconds"], seconds) and math.isclose(entry["hours"] * 3600, seconds),
              f"{name}: {entry['seconds']} s of augmentation, not {seconds}")
        for gain in entry["gains"]:
            pair = next(each for each in results["comparisons"] if each["recommender"] == name and each["arm"] == "augmented"
                        and each["against"] == "original" and each["metric"] == gain["metric"])
            check(gain["difference"] == pair["difference"] and gain["ci95"] == pair["ci95"]
                  and math.isclose(gain["difference_per_hour"], pair["difference"] * 3600 / seconds)
                  and math.isclose(gain["relative_gain_per_hour"], pair["relative_gain"] * 3600 / seconds), f"{name}: gain")
        choice = next(each for each in results["selection"] if each["recommender"] == name)
        candidate = next(each for each in choice["candidates"] if each["choice"] == choice["chosen"])
        check(math.isclose(entry["validation"]["augmented"], candidate["mean"], rel_tol=1e-12)
              and math.isclose(entry["validation"]["original"], sum(choice["baseline"]) / 2, rel_tol=1e-12), f"{name}: validation")
    return results


def test_tuning(scratch, config, plain):
    """Random search, whose order is that of its trials, and halving."""
    space = "tune.space=[{key: learning_rate, low: 1.0e-3, high: 1.0e-1, scale: log}]"
    tune = "tune.use=true", "tune.trials=6", space
    for method in ("random", "halving"):
        folder = scratch / method
        shutil.copytree(plain, folder)
        run(config, folder, *tune, f"tune.method={method}")
        results = check_efficiency(folder)
        together = next(row for row in results["cost"] if row["stage"] == "tune")
        check(together["flops"] > 1e6 and together["at_once"] >= 1, "operations of tuning")
        for search, entry in zip(results["tuning"], results["efficiency"]):
            rungs = [json.loads((folder / "tune" / search["recommender"] / "original" / f"trial-{i}" / "metrics.json").read_text())
                     ["rungs"] for i in range(6)]
            curve = search["curve"]
            check(curve[0]["trial"] == 0 and curve[0]["score"] == search["as_written"]["score"], "as written comes first")
            check(curve[-1]["score"] == search["best"]["score"] and curve[-1]["trial"] == search["best"]["trial"], "best is last")
            check(curve[-1]["seconds"] <= sum(each[-1]["seconds"] for each in rungs) + 1e-9, "no more than all of the time")
            if method == "random":
                expected, total, best = [], 0.0, -1.0
                for trial, (rung,) in enumerate(rungs):
                    total += rung["seconds"]
                    if rung["score"] > best:
                        best = rung["score"]
                        expected.append({"seconds": total, "trial": trial, "score": best})
                check([(each["trial"], each["score"]) for each in curve] == [(each["trial"], each["score"]) for each in expected]
                      and all(math.isclose(a["seconds"], b["seconds"]) for a, b in zip(curve, expected)), f"{curve}, {expected}")
            tuning = entry["tuning"]
            within = [each["score"] for each in curve if each["seconds"] / together["at_once"] <= entry["seconds"]]
            check(tuning["reached"] == (within[-1] if within else None), f"reached {tuning['reached']} of {within}")
            check(tuning["ended"] == (search["seconds"] / together["at_once"] <= entry["seconds"]), "whether tuning had ended")
            check(math.isclose(tuning["gain"], tuning["reached"] - search["as_written"]["score"]), "gain of tuning")
        check("The same time spent on tuning" in (folder / "report.md").read_text(), "the report compares with tuning")


def test_study(scratch, config):
    study = scratch / "study.yaml"
    study.write_text(config.read_text().replace("{seeds: 2}", "{seeds: 1, sweep: {augment.weight: [0.5, 1.0]}}"))
    folder = scratch / "study"
    run(study, folder)
    shared = []
    for trial in sorted((folder / "trials").iterdir()):
        costs = load(trial)
        outcome = load(trial, "trial.json")
        check_sum(costs, outcome["seconds"], f"trial {trial.name}")
        shared.append([row["stage"] for row in costs["rows"] if row.get("reused")])
        check(all(row["seconds"] > 0 for row in costs["rows"]), "taken stages have the time of who computed them")
    check(sorted(sum(shared, [])) == ["finetune", "generate", "prepare", "pretrain"], f"taken by one of two: {shared}")
    sums, trials = load(folder), [load(trial) for trial in sorted((folder / "trials").iterdir())]
    check(sums["trials"] == 2 and math.isclose(sums["wall_seconds"], sum(each["wall_seconds"] for each in trials)),
          f"the study's sum: {sums}")
    check(math.isclose(sum(row["seconds"] for row in sums["rows"]), sums["wall_seconds"]), "its rows add up")
    pretrain = row_of(sums, "pretrain")
    check(pretrain["trials"] == 1 and pretrain["seconds"] in [row_of(each, "pretrain")["seconds"] for each in trials],
          "what trials share counts once")
    taker = max(zip(map(len, shared), sorted((folder / "trials").iterdir())))[1]
    check("(taken from another trial)" in (taker / "report.md").read_text(), "the report marks them")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        data, config = scratch / "data.inter", scratch / "cost.yaml"
        synthesize(data, "--users=300", "--items=200", "--seed=5")
        config.write_text(CONFIG.format(data=data))
        folder, measured = test_one_process(scratch, config)
        check_efficiency(folder)
        check(all(entry["tuning"] is None for entry in load(folder, "results.json")["efficiency"]), "not tuned")
        test_operations(scratch, config, folder)
        test_tuning(scratch, config, folder)
        test_other_settings(config, folder, measured)
        test_left_behind(config, folder)
        test_interrupted(scratch, config)
        test_killed(scratch, config)
        test_study(scratch, config)
    return status()


if __name__ == "__main__":
    sys.exit(main())
