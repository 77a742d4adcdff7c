"""Files of TensorBoard, by a small reader of TFRecords and protocol buffers that is independent of the encoder: after a run,
after one that was killed, while one goes on, of files that were cut short or damaged, of a study; and that they change
no stage but the report. check_tensorboard.py does the same with TensorBoard's own reader.
"""

import json
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time

from checking import IDREC, check, idrec, status, synthesize

CONFIG = """\
name: curves
data: {path: data.inter}
language_model: {layers: 1, width: 16, heads: 2}
prompts: {random_cuts: 1}
pretrain: {epochs: 50, patience: 0, tokens_per_batch: 512}
finetune: {epochs: 2}
generate: {contexts: 1, max_items: 5}
augment: {select: fixed, use: [positives], per_user: [2]}
recommenders: [{model: bpr_mf, width: 8, epochs: 5}, {model: item_knn}]
experiment: {seeds: 2, arms: [original, augmented]}
evaluate: {k: [10]}
report: {tensorboard: true}
"""
NAME = "events.out.tfevents.1.idrec"


# ---- a reader -----------------------------------------------------------------------------------------------


def reversed_bits(value, width):
    return int(f"{value:0{width}b}"[::-1], 2)


def byte_table():
    """Remainders of a byte by the polynomial of CRC-32C as it is written, its highest power first."""
    table = []
    for byte in range(256):
        remainder = byte << 24
        for _ in range(8):
            remainder = (remainder << 1) ^ (0x11EDC6F41 if remainder & 0x80000000 else 0)
        table.append(remainder)
    return table


TABLE, MIRRORED = byte_table(), [reversed_bits(byte, 8) for byte in range(256)]


def crc32c(content):
    remainder = 0xFFFFFFFF
    for byte in content:
        remainder = ((remainder << 8) & 0xFFFFFFFF) ^ TABLE[(remainder >> 24) ^ MIRRORED[byte]]
    return reversed_bits(remainder, 32) ^ 0xFFFFFFFF


def unmasked(checksum):
    rotated = (checksum - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def records(content):
    place = 0
    while place < len(content):
        length, checksum = struct.unpack_from("<QI", content, place)
        check(unmasked(checksum) == crc32c(content[place:place + 8]), f"checksum of the length at {place}")
        data = content[place + 12:place + 12 + length]
        check(len(data) == length, f"the record at {place} is whole")
        check(unmasked(struct.unpack_from("<I", content, place + 12 + length)[0]) == crc32c(data), f"checksum at {place}")
        yield data
        place += 16 + length


def varint(data, place):
    value, shift = 0, 0
    while True:
        value |= (data[place] & 0x7F) << shift
        shift += 7
        place += 1
        if data[place - 1] < 0x80:
            return value, place


def fields(data):
    """{number: value} of a message, whose fields appear once."""
    found, place = {}, 0
    while place < len(data):
        key, place = varint(data, place)
        kind, number = key & 7, key >> 3
        check(number not in found, f"field {number} twice")
        if kind == 0:
            found[number], place = varint(data, place)
        elif kind == 2:
            length, place = varint(data, place)
            found[number], place = data[place:place + length], place + length
        else:
            size, code = {1: (8, "<d"), 5: (4, "<f")}[kind]
            found[number], place = struct.unpack_from(code, data, place)[0], place + size
    return found


def read_events(path):
    """[(wall time, step, tag, value)]"""
    events = [fields(record) for record in records(path.read_bytes())]
    check(events[0].keys() == {1, 3} and events[0][3] == b"brain.Event:2", f"the first event: {events[0]}")
    found = []
    for event in events[1:]:
        check(event.keys() == {1, 2, 5}, f"fields of an event: {event}")
        value = fields(fields(event[5])[1])
        check(value.keys() == {1, 2}, f"fields of a value: {value}")
        found.append((event[1], event[2], value[1].decode(), value[2]))
    return found


# ---- what has to be in the files ----------------------------------------------------------------------------


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def logged(path, stage=None):
    """The points of a log whose training was not interrupted, each once; [(wall time, step, tag, value)]."""
    points = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        for key, value in record.items():
            if key not in ("stage", "step", "time") and value is not None:
                place = record["step"], f"{stage or record['stage']}/{key}"
                points.setdefault(place, (record.get("time", record["step"]), *place, single(value)))
    return list(points.values())


def ended(path):
    metrics = json.loads(path.read_text())
    return [(metrics["best_epoch"], metrics["best_epoch"], f"{part}/{key}", single(value))
            for part in ("validation", "test") for key, value in metrics[part].items()]


def events_of(run):
    return {str(path.parent.relative_to(run / "tensorboard")): path for path in run.glob(f"tensorboard/**/{NAME}")}


def test_run(folder):
    check(crc32c(b"123456789") == 0xE3069283, "the reader's own checksum")
    result = idrec(folder, "run", "curves.yaml", "output=a")
    check(result.returncode == 0, result.stderr[-500:])
    run = folder / "a"
    files = events_of(run)
    fits = {str(path.relative_to(run / "recommenders")) for path in run.glob("recommenders/*/*/seed-*")}
    check(files.keys() == fits | {"language_model"} and len(fits) == 8, f"files: {sorted(files)}")
    for name in fits:
        source = run / "recommenders" / name
        curve = logged(source / "metrics.jsonl", "training") if (source / "metrics.jsonl").exists() else []
        check(read_events(files[name]) == curve + ended(source / "metrics.json"), f"events of {name}")
        check(name.startswith("item_knn") or len(curve) > 1, f"{name}: {len(curve)} points")
    found = read_events(files["language_model"])
    check(found == logged(run / "metrics.jsonl"), "events of the language model")
    tags = {tag for _, _, tag, _ in found}
    check(tags >= {f"pretrain/{name}" for name in ("epoch", "loss", "learning_rate", "tokens_per_second", "train_loss",
                                                   "validation_loss", "ndcg", "recall")}, f"tags: {tags}")
    check(abs(found[-1][0] - time.time()) < 3600 and found == sorted(found, key=lambda event: event[0]), "wall times")
    check(all(step % 20 == 0 for _, step, tag, _ in found if tag == "pretrain/loss"), "records of steps")
    check(not any(step == 0 and tag.endswith("train_loss") for _, step, tag, _ in found), "a loss before the first step")


def steps_and_losses(path):
    """What does not depend on time."""
    return [(step, tag, value) for _, step, tag, value in read_events(path) if not tag.endswith("tokens_per_second")]


def test_killed(folder):
    """Killed in the midst of pretraining, which then has logged some steps twice: the same curves, each step once."""
    process = subprocess.Popen([IDREC, "run", "curves.yaml", "output=killed"], cwd=folder, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    log, deadline = folder / "killed" / "metrics.jsonl", time.monotonic() + 60
    while (not log.exists() or len(log.read_text().splitlines()) < 12) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    check(process.wait() == -signal.SIGKILL, "it was killed")
    with log.open("a") as stream:  # as a kill would have it that came between the log and the state
        stream.write('{"stage":"pretrain","step":99999,"time":0,"loss":1.0}\n{"stage":"pretr')
        stream.write("\n")
    check(idrec(folder, "tensorboard", "killed").returncode == 0, "of a run that was killed")
    check(read_events(events_of(folder / "killed")["language_model"])[-1][1] == 99999, "what was logged so far")
    check(idrec(folder, "run", "curves.yaml", "output=killed").returncode == 0, "it goes on")
    files = [events_of(folder / name) for name in ("a", "killed")]
    check(files[0].keys() == files[1].keys(), "the same files")
    for name, path in files[0].items():
        check(steps_and_losses(path) == steps_and_losses(files[1][name]), f"{name}: curves differ after a kill")
        check(name == "language_model" or path.read_bytes() == files[1][name].read_bytes(), f"{name}: bytes differ")


def test_updates(folder):
    """Whole files are left, those that were cut short are completed in place, others are replaced."""
    path = events_of(folder / "a")["language_model"]
    whole, before = path.read_bytes(), path.stat()
    idrec(folder, "tensorboard", "a")
    check(path.stat() == before, "a whole file is left as it is")
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        idrec(folder, "tensorboard", "a")
        check(path.read_bytes() == whole and path.stat().st_ino == before.st_ino, f"completed from {length} bytes on")
    path.write_bytes(whole[:100] + b"?" + whole[101:])
    idrec(folder, "tensorboard", "a")
    check(path.read_bytes() == whole and path.stat().st_ino != before.st_ino, "replaced")
    path.write_bytes(whole + b"?")
    idrec(folder, "tensorboard", "a")
    check(path.read_bytes() == whole, "longer than it may be")


def test_repeated_steps(folder):
    run = folder / "made"
    run.mkdir()
    (run / "manifest.json").write_text("{}")
    lines = [{"step": 0}, {"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0, "ndcg": 0.5}, {"step": 3, "loss": 3.0},
             {"step": 2, "loss": 2.5}, {"step": 2, "rate": None}, {"step": 300, "loss": -1e-3}]
    text = "".join(json.dumps({"stage": "one"} | line) + "\n" for line in lines)
    text += json.dumps({"stage": "two", "step": 1, "loss": 7.0}) + "\n"
    (run / "metrics.jsonl").write_text(text)
    check(idrec(folder, "tensorboard", "made").stdout == "1 file of events; tensorboard --logdir made\n", "one file")
    path = events_of(run)["language_model"]
    expected = [(1.0, 1, "one/loss", 1.0), (2.0, 2, "one/ndcg", 0.5), (2.0, 2, "one/loss", 2.5),
                (300.0, 300, "one/loss", single(-1e-3)), (1.0, 1, "two/loss", 7.0)]
    check(read_events(path) == expected, f"steps: {read_events(path)}")
    (run / "metrics.jsonl").write_text(text + '{"stage":"one","step":0,"time":5.5}\n{"stage":"one","step":1,"time":6.5,"loss":9.0}\n'
                                       '{"stage":"one","step":2,"loss":8')
    idrec(folder, "tensorboard", "made")
    check(read_events(path) == [expected[-1], (6.5, 1, "one/loss", 9.0)], f"a training anew: {read_events(path)}")


def test_other_stages(folder):
    """The setting belongs to the report alone."""
    result = idrec(folder, "run", "curves.yaml", "output=a", "report.tensorboard=false")
    check([line for line in result.stderr.splitlines() if ": done in" in line and not line.startswith("report")] == [] and
          "evaluate: up to date" in result.stderr, f"stages: {result.stderr}")
    check(not (folder / "a" / "tensorboard").exists(), "left out")
    result = idrec(folder, "tensorboard", "a")
    check(result.stdout.startswith("9 files of events;") and len(events_of(folder / "a")) == 9, f"{result}")
    result = idrec(folder, "run", "curves.yaml", "output=a", "report.tensorboard=false")
    check("report: up to date" in result.stderr, "files made later change nothing")


def test_study(folder):
    (folder / "study.yaml").write_text("extends: curves.yaml\nname: study\nexperiment: {arms: [original], "
                                       "sweep: {\"recommenders[0].width\": [4, 8]}}\nreport: {tensorboard: false}\n")
    check(idrec(folder, "run", "study.yaml", "output=study").returncode == 0, "the study")
    check(idrec(folder, "tensorboard", "study").stdout.startswith("8 files of events;"), "of a study")
    check({path.parts[-6] for path in folder.glob(f"study/trials/*/tensorboard/*/*/*/{NAME}")} == {"width=4", "width=8"},
          "files of the trials")


def test_every(folder):
    process = subprocess.Popen([IDREC, "tensorboard", "made", "--every=1"], cwd=folder, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    process.stdout.readline()
    with (folder / "made" / "metrics.jsonl").open("a") as stream:
        stream.write('.0}\n')
    deadline = time.monotonic() + 30
    path = events_of(folder / "made")["language_model"]
    while read_events(path)[-1][1:] != (2, "one/loss", 8.0) and time.monotonic() < deadline:
        time.sleep(0.2)
    check(read_events(path)[-1][1:] == (2, "one/loss", 8.0), "a step that came later")
    path.parent.rename(folder / "away")
    path.parent.write_text("in the way")
    time.sleep(1.5)
    path.parent.unlink()
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    check(path.exists(), "a round that failed ends nothing")
    process.send_signal(signal.SIGINT)
    check(process.wait(timeout=30) == 130, "interrupted")


def test_refusals(folder):
    for arguments, expected, word in ((["nowhere"], 1, "nowhere"), (["made", "--every=0"], 2, "--every=0"), ([], 2, "RUN")):
        result = idrec(folder, "tensorboard", *arguments)
        check(result.returncode == expected and word in result.stderr, f"tensorboard {arguments}: {result}")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "curves.yaml").write_text(CONFIG)
        synthesize(folder / "data.inter", "--users=80", "--items=50", "--interactions=12", "--factors=4", "--blocks=2")
        test_run(folder)
        test_killed(folder)
        test_updates(folder)
        test_repeated_steps(folder)
        test_other_stages(folder)
        test_study(folder)
        test_every(folder)
        test_refusals(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
