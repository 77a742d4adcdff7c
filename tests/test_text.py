"""The language model on text, end to end: from scratch, from a checkpoint, every way to write items and to generate them.

A data set of 60 users and 40 items in two tastes; models of a few thousand weights. Needs h5diff (Debian: hdf5-tools).
"""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from checking import IDREC, SOURCE, check, idrec, lacks, status

CONFIG = """\
name: text
device: cpu
data: {{path: data.inter}}
language_model: {{{language_model}, dropout: 0}}
prompts: {{full: false, random_cuts: 2}}
pretrain: {{{pretrain}, learning_rate: 1.0e-2, tokens_per_batch: 1024, patience: 0}}
finetune: {{epochs: 1, tokens_per_batch: 1024, patience: 0, loss_on: all, select: last}}
generate: {{method: sampling, samples: 1, max_items: 5}}
augment: {{select: fixed, use: positives, per_user: 2, ensemble: []}}
recommenders: [{{model: popularity}}]
experiment: {{arms: [original, augmented], seeds: 1, parallel: 1}}
evaluate: {{k: [5], resamples: 100}}
"""
SHAPE = "layers: 1, width: 16, heads: 2, positions: true"
MODELS = [("text.yaml", f"vocabulary: text, tokenizer: tokenizer.json, {SHAPE}", "epochs: 12"),
          ("given.yaml", "vocabulary: text, checkpoint: scratch/language_model/base", "enabled: false"),
          ("ids.yaml", f"vocabulary: ids, {SHAPE}", "epochs: 4")]
USERS, ITEMS = 60, 40
LEARN = ["finetune.epochs=12", "finetune.learning_rate=5.0e-2"]
CODES = ["language_model.clusters=4", "language_model.cluster_size=6"]


def write_data(path):
    """User u has ten of the twenty items of the taste u % 2."""
    rows = ["user_id:token\titem_id:token"]
    for user in range(USERS):
        for k in range(10):
            rows.append(f"user{user}\titem{user % 2 * ITEMS // 2 + (user * 7 + k * 3) % (ITEMS // 2)}")
    path.write_text("\n".join(rows) + "\n")


def run(folder, config, name, *settings):
    """A run in its own folder; None where it fails."""
    result = idrec(folder, "run", config, f"output={name}", *settings)
    check(result.returncode == 0, f"{name}: {result.stderr[-400:]}")
    return result if result.returncode == 0 else None


def stages_done(result):
    return re.findall(r"^(\w+): done in", result.stdout + result.stderr, re.M) if result else None


def losses(text):
    return re.findall(r"^finetune: epoch .*", text, re.M)


def same_file(folder, first, second, name):
    """HDF5 by its data sets: an attribute counts the operations, which differ with the batch."""
    paths = [folder / first / name, folder / second / name]
    if name.endswith(".h5"):
        return all(subprocess.run(["h5diff", *paths, f"/{column}"], capture_output=True).stdout == b""
                   for column in ("user", "item", "sample", "position", "log_probability"))
    return (folder / first / name).read_bytes() == (folder / second / name).read_bytes()


def counts(folder, name):
    return json.loads((folder / name / "results.json").read_text())["generation"]


def check_counts(folder, name, constrained):
    found = counts(folder, name)
    check(found["requested"] == USERS * 5, f"{name}: five items a user are asked for: {found}")
    if constrained:
        check(found["valid"] > 0, f"{name}: no item: {found}")
        check(found["invalid"] == found["already_seen"] == found["duplicate"] == 0, f"{name}: {found}")
    rows = found["valid"] + found["already_seen"] + found["duplicate"]
    check(rows <= found["requested"], f"{name}: more than was asked for: {found}")
    check(found["accepted"] + sum(found["rejected"].values()) == rows, f"{name}: rows are kept or refused: {found}")
    return found


# ---- runs that work -----------------------------------------------------------------------------------------

def test_from_scratch(folder):
    """Leaves the base that the others start from."""
    result = run(folder, "text.yaml", "scratch")
    if not result:
        return
    check("60 of 60 prompts have the tokens of the text as a whole" in result.stderr, "agreement with the tokenizer is told")
    check_counts(folder, "scratch", True)
    base = folder / "scratch" / "language_model" / "base"
    check({"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in base.iterdir()}, "a whole folder")
    check((base / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes(), "the tokenizer is copied")
    again = run(folder, "text.yaml", "scratch")
    check(stages_done(again) == [], f"nothing is done twice: {again.stderr if again else ''}")


def test_checkpoint(folder):
    """The folder of the first run as the checkpoint of others: the same rows, whatever the batch."""
    run(folder, "given.yaml", "given")
    check(counts(folder, "given") == counts(folder, "scratch"), "the base of a run is a checkpoint like any other")
    check(not (folder / "given" / "language_model" / "base").exists(), "a given base is not copied")
    run(folder, "given.yaml", "batch", "generate.batch=3")
    check(same_file(folder, "given", "batch", "generated.h5"), "the batch of generation changes nothing")


def test_generation(folder):
    for method in ("ranking", "beam", "beam_lists"):
        run(folder, "given.yaml", method, f"generate.method={method}")
        check_counts(folder, method, True)
    for method in ("sampling", "beam_lists"):
        name = f"free_{method}"
        run(folder, "given.yaml", name, f"generate.method={method}", "generate.constrained=false", "generate.max_tokens=40")
        found = check_counts(folder, name, False)
        check(method != "sampling" or (found["invalid"] > 0 and found["valid"] > 0), f"{name}: a tiny model errs: {found}")


def test_names(folder):
    """Names are what a model from scratch sees of users and items, so each gives others."""
    seen = set()
    for names in ("raw", "relabelled", "random"):
        result = run(folder, "text.yaml", names, f"language_model.names={names}")
        check_counts(folder, names, True)
        seen.add(result.stderr.split("kept epoch")[1].split("(")[0] if result else names)
    check(len(seen) == 3, f"three kinds of names are three trainings: {seen}")


def test_indexing(folder):
    for vocabulary, config in (("text", "text.yaml"), ("ids", "ids.yaml")):
        for indexing in ("ids", "collaborative", "collaborative_ids"):
            name = f"{indexing}_of_{vocabulary}"
            result = run(folder, config, name, f"language_model.indexing={indexing}", *CODES)
            check_counts(folder, name, True)
            check(("items: " in result.stderr) == (indexing != "ids") if result else False, f"{name}: codes are told of")


def new_tokens(folder, name):
    """The tokens that the adapter of a run adds."""
    return json.loads((folder / name / "language_model" / "adapter" / "adapter_config.json").read_text()).get(
        "trainable_token_indices")


def scores(folder, *model):
    """The next logits behind a text with a new token."""
    return json.loads(idrec(folder, "score", *model, f"--tokens=1,5,{vocabulary(folder)},7", "--json").stdout)["next_logits"]


def vocabulary(folder, name="scratch/language_model/base"):
    return json.loads((folder / name / "config.json").read_text())["vocab_size"]


def test_new_tokens(folder):
    """Items as tokens that the checkpoint does not have."""
    old = vocabulary(folder)
    for indexing in ("ids", "collaborative", "collaborative_ids"):
        name = f"{indexing}_added"
        run(folder, "given.yaml", name, f"language_model.indexing={indexing}", *CODES, *LEARN)
        check_counts(folder, name, True)
        added = new_tokens(folder, name)
        check(added == list(range(old, old + len(added))), f"{name}: {added}")
        check(len(added) == ITEMS if indexing == "ids" else len(added) > 4, f"{name}: {len(added)} tokens")
        check(not (folder / name / "language_model" / "base").exists(), f"{name}: a given base stays as it is")
    logits = scores(folder, "ids_added")
    check(len(logits) == old + ITEMS, f"logits of new tokens too: {len(logits)}")
    merged = idrec(folder, "merge", "ids_added", "merged")
    check(f"; {ITEMS} new tokens; " in merged.stdout, f"told: {merged.stdout}{merged.stderr}")
    check(vocabulary(folder, "merged") == old + ITEMS, "the merged model has the new tokens")
    check(max(abs(a - b) for a, b in zip(logits, scores(folder, "merged"))) < 1e-4, "and gives the same logits")
    run(folder, "given.yaml", "nf4_added", "language_model.indexing=ids", "finetune.base=nf4")
    check_counts(folder, "nf4_added", True)


def test_new_tokens_of_a_base(folder):
    """Where all weights are trained, new tokens are rows like the others."""
    old = vocabulary(folder)
    ids = "language_model.indexing=ids"
    run(folder, "given.yaml", "pretrained_added", ids, "pretrain.enabled=true", "pretrain.epochs=1")
    check_counts(folder, "pretrained_added", True)
    check(vocabulary(folder, "pretrained_added/language_model/base") == old + ITEMS, "the new base has them")
    check(new_tokens(folder, "pretrained_added") is None, "its adapter none of its own")
    run(folder, "given.yaml", "full_added", ids, "finetune.method=full")
    check(vocabulary(folder, "full_added/language_model/finetuned") == old + ITEMS, "the fine-tuned model has them")
    check_one_line(idrec(folder, "run", "given.yaml", "output=none", ids, "finetune.method=none"),
                   "nothing would train new tokens", "finetune.method: is none")
    plan = idrec(folder, "plan", "given.yaml", "output=none", ids)
    check(plan.returncode == 0, f"planned: {plan.stderr}")


def test_variants(folder):
    run(folder, "given.yaml", "chat", "prompts.text.chat=llama2", "prompts.text.answer_apart=false")
    check_counts(folder, "chat", True)
    run(folder, "given.yaml", "lines", 'prompts.text.context="In:\\n{items}\\nfor u{user}:\\n"', "prompts.text.separator=', '")
    check_counts(folder, "lines", True)
    written = (folder / "lines" / "config.yaml").read_text()
    check('"In:\\n{items}\\nfor u{user}:\\n"' in written, "line breaks are written as they are read")
    for base in ("nf4", "int8"):
        result = run(folder, "given.yaml", base, f"finetune.base={base}")
        check_counts(folder, base, True)
        check(result and losses(result.stderr) != losses((folder / "given" / "log.txt").read_text()), f"{base}: it is quantised")


# ---- going on and starting again ----------------------------------------------------------------------------

def test_interrupted(folder):
    """Stopped in the middle of fine-tuning, then run again: the bytes of a run that never was."""
    settings = ["finetune.epochs=30", "generate.max_items=2"]
    run(folder, "given.yaml", "whole", *settings)
    process = subprocess.Popen([IDREC, "run", "given.yaml", "output=parts", *settings], cwd=folder, text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for line in process.stderr:
        if "finetune: epoch 2" in line:
            process.send_signal(signal.SIGINT)
            break
    process.stderr.read()
    check(process.wait(timeout=60) == 130, "an interrupted run says so by its status")
    result = run(folder, "given.yaml", "parts", *settings)
    check(result and "finetune: going on after step" in result.stderr, "the run goes on")
    for name in ("language_model/adapter/adapter_model.safetensors", "generated.h5"):
        check(same_file(folder, "whole", "parts", name), f"{name} is the same after an interruption")


def test_changed_tokenizer(folder):
    """Another tokenizer.json, though under the same name, makes the stages of the language model run again."""
    shutil.copytree(folder / "scratch", folder / "changed")
    before = stages_done(run(folder, "text.yaml", "changed"))
    check(before == [], f"as long as it is the same nothing is done: {before}")
    path = folder / "tokenizer.json"
    original = path.read_text()
    path.write_text(original + " ")
    after = stages_done(run(folder, "text.yaml", "changed"))
    check("prepare" not in after and {"pretrain", "finetune", "generate"} <= set(after), f"a changed tokenizer: {after}")
    path.write_text(original)


# ---- what is refused ----------------------------------------------------------------------------------------

def spoil(folder, name, change):
    """A copy of the base with a changed config.json."""
    shutil.copytree(folder / "scratch" / "language_model" / "base", folder / name)
    path = folder / name / "config.json"
    settings = json.loads(path.read_text())
    change(settings)
    path.write_text(json.dumps(settings))
    return f"language_model.checkpoint={name}"


def check_one_line(result, what, place="", status_=None):
    lines = result.stderr.strip().split("\n")
    check(result.returncode in ((1, 2) if status_ is None else (status_,)), f"{what}: status {result.returncode}")
    check(lines[-1].startswith("idrec: ") and place in lines[-1], f"{what}: {lines[-1]}")
    check(sum(line.startswith("idrec: ") for line in lines) == 1, f"{what}: one line: {lines}")


def test_refusals(folder):
    def refused(config, place, *settings, status_=2):
        check_one_line(idrec(folder, "run", config, "output=refused", *settings), f"{settings}", place, status_)

    document = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = document["model"]["vocab"]
    vocabulary["<ends>"] = vocabulary.pop("</s>")
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] != "</s>"]
    (folder / "endless.json").write_text(json.dumps(document))
    (folder / "broken.json").write_text("{")
    refused("text.yaml", "text.yaml:4: language_model.vocabulary", "language_model.tokenizer=null")
    refused("text.yaml", "language_model.tokenizer: none.json is not there", "language_model.tokenizer=none.json")
    refused("text.yaml", "broken.json:1", "language_model.tokenizer=broken.json", status_=1)
    refused("text.yaml", "language_model.tokenizer: has no token that ends a text", "language_model.tokenizer=endless.json")
    refused("given.yaml", "eos_token_id", spoil(folder, "endless", lambda settings: settings.pop("eos_token_id")), status_=1)
    refused("given.yaml", "do not belong together", spoil(folder, "few", lambda settings: settings.update(vocab_size=300, idrec_classes=300)))
    refused("given.yaml", "scratch is a run's folder; take scratch/language_model/base", "language_model.checkpoint=scratch")
    refused("given.yaml", "adapter is an adapter", "language_model.checkpoint=scratch/language_model/adapter")
    refused("given.yaml", "language_model.checkpoint: absent/config.json is not there", "language_model.checkpoint=absent")
    for key in ("layers=2", "width=32", "positions=true", "tied=true", "rope_theta=1.0e6"):
        refused("given.yaml", f"command line: language_model.{key.split('=')[0]}: is read from the config.json",
                f"language_model.{key}")
    bad = folder / "bad.yaml"
    for line, place in (
            ("prompts: {text: {context: 'without any'}}", "bad.yaml:2: prompts.text.context: {items} must"),
            ("prompts: {text: {context: '{items} {what}'}}", "bad.yaml:2: prompts.text.context: {what} is no placeholder"),
            ("prompts: {text: {context: '{items'}}", "bad.yaml:2: prompts.text.context: a single brace"),
            ("prompts: {text: {answer: 'nothing'}}", "bad.yaml:2: prompts.text.answer: {items} must"),
            ("prompts: {text: {item: 'i'}}", "bad.yaml:2: prompts.text.item: {item} must"),
            ("prompts: {text: {chat: llama3}}", "bad.yaml:2: prompts.text.chat: llama3 ends"),
            ("prompts: {length: 9}", "bad.yaml:2: prompts.length: is 9"),
            ("prompts: {template: sequence}", "bad.yaml:2: prompts.template: is only for"),
            ("generate: {method: beam, constrained: false}", "bad.yaml:2: generate.constrained: is false"),
            ("language_model: {user_tokens: true}", "bad.yaml:2: language_model.user_tokens: is only for"),
            ("finetune: {objective: set}", "bad.yaml:2: finetune.objective: set needs"),
            ("pretrain: {select: ndcg}", "bad.yaml:2: pretrain.select: ndcg needs")):
        bad.write_text(f"extends: text.yaml\n{line}\n")
        refused("bad.yaml", place)
    bad.write_text("extends: text.yaml\nlanguage_model: {names: raw}\nprompts: {text: {separator: te}}\n")
    refused("bad.yaml", "bad.yaml: prompts.text: item 'item0' holds 'te'")


def main():
    if lacks("h5diff"):
        return 77
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_data(folder / "data.inter")
        shutil.copy(SOURCE / "configs" / "tokenizers" / "digits.json", folder / "tokenizer.json")
        for name, language_model, pretrain in MODELS:
            (folder / name).write_text(CONFIG.format(language_model=language_model, pretrain=pretrain))
        for test in (test_from_scratch, test_checkpoint, test_generation, test_names, test_indexing, test_new_tokens,
                     test_new_tokens_of_a_base, test_variants, test_interrupted, test_changed_tokenizer, test_refusals):
            begun = time.monotonic()
            test(folder)
            print(f"{test.__name__}: {time.monotonic() - begun:.1f} s", flush=True)
    return status()


if __name__ == "__main__":
    sys.exit(main())
