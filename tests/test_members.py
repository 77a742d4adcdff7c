"""Several language models that are trained alike but for their seeds (language_model.members): what generation says of a user is the
mean of what each says alone, the first is the model of a run with one, and a killed run keeps the models that are finished. Needs
h5dump (Debian: hdf5-tools).
"""

import collections
import math
import pathlib
import shutil
import signal
import sys
import tempfile

from checking import check, check_refusal, idrec, lacks, status, synthesize
from ranks import begin, end_of
from test_language_recommender import read_h5

ITEMS = 70
CONFIG = """\
name: members
seed: 3
data: {path: data.inter, format: recbole}
device: cpu
threads: 1
language_model: {layers: 1, width: 16, heads: 2, positions: true, members: 3}
prompts: {random_cuts: 2}
pretrain: {epochs: 12, tokens_per_batch: 512}
finetune: {epochs: 2, rank: 2}
generate: {contexts: 2, max_items: %d}
recommenders: [{model: bpr_mf, width: 8, epochs: 3}, {model: language_model, contexts: 1}]
""" % ITEMS
WEIGHTS = [("base", "model.safetensors"), ("adapter", "adapter_model.safetensors")]


def stages(folder, output, *overrides, names=("prepare", "pretrain", "finetune", "generate")):
    for name in names:
        result = idrec(folder, name, "ranks.yaml", f"output={output}", *overrides)
        if result.returncode != 0:
            sys.exit(f"{output}: {name}: {result.stderr[-1500:]}")


def weights(output, member):
    """The files of a member, 1 the first."""
    folder = output / "language_model"
    return [folder / (part if member == 1 else f"{part}_members/{member}") / name for part, name in WEIGHTS]


def read_rankings(output):
    """For each user the log-probability of each item that is proposed, in the order of the file, and the votes."""
    scores, votes = collections.defaultdict(dict), {}
    for user, item, score, count in zip(*read_h5(output / "generated.h5", "/user", "/item", "/log_probability", "/votes")):
        scores[user][item] = score
        votes[user, item] = count
    return scores, votes


def ask_alone(folder, member):
    """What generation says when all three models are this one."""
    alone = folder / f"alone{member}"
    shutil.copytree(folder / "three", alone)
    for other in (1, 2, 3):
        for source, target in zip(weights(folder / "three", member), weights(alone, other)):
            shutil.copyfile(source, target)
    (alone / "generated.h5").unlink()
    stages(folder, alone.name, names=["generate"])
    return read_rankings(alone)[0]


def test_mean(folder):
    together, votes = read_rankings(folder / "three")
    alone = [ask_alone(folder, member) for member in (1, 2, 3)]
    check(len(together) == 90 and all(len(items) > ITEMS / 2 for items in together.values()), "everyone has a whole ranking")
    check(max(votes.values()) == 6, f"three models and two contexts vote, not {max(votes.values())}")
    apart = 0
    for user, items in together.items():
        said = [model[user] for model in alone]
        for item, score in items.items():
            mean = math.log(sum(math.exp(model[item]) for model in said) / 3)
            check(abs(score - mean) < 2e-5, f"user {user}, item {item}: {score}, and the mean of the models is {mean}")
            apart = max(apart, abs(said[0][item] - said[1][item]), abs(said[1][item] - said[2][item]))
        check(list(items.values()) == sorted(items.values(), reverse=True), f"user {user}: the best come first")
    check(apart > 0.1, f"the models differ by {apart} at most")


def test_first(folder):
    stages(folder, "one", "language_model.members=1", names=("prepare", "pretrain", "finetune"))
    for one, first in zip(weights(folder / "one", 1), weights(folder / "three", 1)):
        check(one.read_bytes() == first.read_bytes(), f"{first.name} of the first model is not that of a run with one")
    check(not (folder / "one/language_model/base_members").exists(), "a run with one model has others")


def test_killed(folder):
    stages(folder, "killed", names=["prepare"])
    process, _ = begin(folder, 1, "pretrain", "killed", lambda place: (place / "language_model/base_members/2/DONE").exists())
    process.send_signal(signal.SIGKILL)
    _, code, _ = end_of(process)
    check(code == -signal.SIGKILL, f"the run ended before it was killed: {code}")
    check(not weights(folder / "killed", 3)[0].exists(), "the third model was done before the run was killed")
    result = idrec(folder, "pretrain", "ranks.yaml", "output=killed")
    check(result.returncode == 0, result.stderr[-800:])
    for member, words in ((1, " is there already"), (2, " is there already"), (3, "\n")):
        check(f"pretrain: model {member} of 3{words}" in result.stderr, f"{words!r} of model {member} in {result.stderr[-2000:]}")
    for member in (1, 2, 3):
        check(weights(folder / "killed", member)[0].read_bytes() == weights(folder / "three", member)[0].read_bytes(),
              f"model {member} is not that of a run that was never killed")
    check(not (folder / "killed/language_model/pretrain_state").exists(), "a state is left")


def test_metrics(folder):
    text = (folder / "three/metrics.jsonl").read_text()
    for name in ("pretrain", "pretrain-2", "pretrain-3", "finetune-3"):
        check(f'"{name}"' in text, f"metrics.jsonl has nothing of {name}")
    result = idrec(folder, "plan", "ranks.yaml")
    check(result.returncode == 0 and "3 models" in result.stdout, f"plan: {result.stdout[:1500]} {result.stderr}")


def test_refusals(folder):
    for words, overrides in (("generate.method: ranking", ["generate.method=sampling"]),
                             ("recommenders[1]", ["recommenders[1].ranking=beam"]),
                             ("a token for each item", ["language_model.indexing=collaborative"])):
        result = idrec(folder, "config", "ranks.yaml", *overrides)
        check_refusal(result, 2, "language_model.members", "is 3", words)
    check_refusal(idrec(folder, "score", "three", "--tokens=1,2"), 2, "3 language models", "three/language_model/base_members/2")
    alone = idrec(folder, "score", "three/language_model/base_members/2", "--tokens=1,2")
    check(alone.returncode == 0, alone.stderr)


def main():
    if lacks("h5dump"):
        return 77
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "ranks.yaml").write_text(CONFIG)
        synthesize(folder / "data.inter", "--users=90", f"--items={ITEMS}", "--interactions=12")
        stages(folder, "three")
        for test in (test_mean, test_first, test_killed, test_metrics, test_refusals):
            test(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
