"""Every study of configs/ablations runs to its end on small artificial data, with the trials that it declares."""

import json
import pathlib
import sys
import tempfile

from checking import SOURCE, check, idrec, status, synthesize

# Small enough for seconds; what a study sets itself stays as it is.
SMALL = ["data.format=auto", "data.split.method=random", "recommenders=[{model: ease}]", "experiment.seeds=2",
         "evaluate.resamples=100", "language_model.heads=2", "experiment.trials_at_once=2", "prompts.length=256"]
SMALL_TRAINING = {"pretrain.epochs": 1, "finetune.epochs": 1}


def check_study(folder, path):
    name = path.stem
    overrides = [f"data.path={folder}/data.inter", f"output={folder}/{name}", *SMALL,
                 *(f"{key}={value}" for key, value in SMALL_TRAINING.items())]
    planned = json.loads(idrec(folder, "status", path, "--json", *overrides).stdout)["trials"]
    check(len(planned) >= 2, f"{name}: fewer than two trials")
    run = idrec(folder, "run", path, *overrides)
    if run.returncode != 0:
        return check(False, f"{name}: {run.stderr[-600:]}")
    trials = json.loads((folder / name / "results.json").read_text())["trials"]
    check([trial["trial"] for trial in trials] == [trial["trial"] for trial in planned], f"{name}: other trials")
    for trial in trials:
        arms = {entry["arm"] for entry in trial.get("recommenders", [])}
        check(trial["state"] == "done" and {"original", "augmented"} <= arms, f"{name}: {trial['trial']}: {arms}")


def main():
    studies = sorted(path for path in (SOURCE / "configs" / "ablations").glob("*.yaml") if path.stem != "base")
    check(len(studies) > 10, "the studies are not where they should be")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        synthesize(folder / "data.inter", "--users=60", "--items=40", "--interactions=12", "--blocks=4")
        for path in studies:
            check_study(folder, path)
    return status()


if __name__ == "__main__":
    sys.exit(main())
