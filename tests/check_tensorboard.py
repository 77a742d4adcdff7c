"""Reads the event files of a run or study with TensorBoard's own reader and compares them with the logs that they come from.

  pip install tensorboard
  idrec tensorboard RUN && python3 tests/check_tensorboard.py RUN

Not part of ctest, which has no packages; test_tensorboard.py has a small reader of its own.
"""

import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing import event_accumulator, event_file_loader


def expected_of(source, prefix):
    """{tag: {step: value}}; where an interrupted stage has logged a step twice the later one counts."""
    curves, log, metrics = {}, source / "metrics.jsonl", source / "metrics.json"
    for line in log.read_text().splitlines() if log.exists() else []:
        record = json.loads(line)
        stage = prefix or record["stage"]
        for tag, curve in curves.items():
            if tag.startswith(f"{stage}/"):
                for step in [step for step in curve if step > record["step"]]:
                    del curve[step]
        for key, value in record.items():
            if key not in ("stage", "step", "time") and value is not None:
                curves.setdefault(f"{stage}/{key}", {})[record["step"]] = value
    if metrics.exists():
        fit = json.loads(metrics.read_text())
        for part in ("validation", "test"):
            for key, value in fit[part].items():
                curves[f"{part}/{key}"] = {fit["best_epoch"]: value}
    return {tag: curve for tag, curve in curves.items() if curve}


def check(folder, events):
    """The number of values that TensorBoard finds, all as logged."""
    place = events.parent.relative_to(folder / "tensorboard")
    source, prefix = (folder, None) if place.name == "language_model" else (folder / "recommenders" / place, "training")
    expected = expected_of(source, prefix)
    loaded = list(event_file_loader.RawEventFileLoader(str(events)).Load())  # checks the checksums
    reader = event_accumulator.EventAccumulator(str(events.parent), size_guidance={event_accumulator.SCALARS: 0,
                                                                                  event_accumulator.TENSORS: 0})
    reader.Reload()
    found = {tag: {entry.step: entry.value for entry in reader.Scalars(tag)} for tag in reader.Tags()["scalars"]}
    count = sum(map(len, found.values()))
    if found.keys() != expected.keys() or len(loaded) != count + 1:
        sys.exit(f"{events}: {len(loaded)} events, {count} values; tags {found.keys() ^ expected.keys()}")
    for tag, curve in expected.items():
        if curve.keys() != found[tag].keys():
            sys.exit(f"{events}: {tag}: steps {sorted(curve.keys() ^ found[tag].keys())}")
        for step, value in curve.items():
            if not math.isclose(found[tag][step], value, rel_tol=2**-23, abs_tol=1e-38):
                sys.exit(f"{events}: {tag} at {step} is {found[tag][step]}, not {value}")
    return count


def main():
    folder = pathlib.Path(sys.argv[1])
    runs = sorted((folder / "trials").iterdir()) if (folder / "trials").exists() else [folder]
    files = [(run, events) for run in runs for events in sorted(run.glob("tensorboard/**/events.out.tfevents.*"))]
    if not files:
        sys.exit(f"{folder}: no event files; give `idrec tensorboard {folder}` first")
    print(f"{len(files)} files, {sum(check(run, events) for run, events in files)} values: as logged")


if __name__ == "__main__":
    main()
