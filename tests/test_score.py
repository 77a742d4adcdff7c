"""`idrec score` against log-probabilities and logits of transformers and peft (goldens/make_transformer.py,
make_adapter.py), on folders written here, and on a run; `idrec merge` of a run gives the same scores."""

import json
import math
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

from checking import IDREC, SOURCE, check, check_refusal, status, synthesize

GOLDENS = SOURCE / "tests" / "goldens"
TOKENIZER = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
             "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
             "post_processor": None,
             "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                       "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                       "vocab": {"a": 5, "b": 6, "\u0120": 7, "ab": 8}, "merges": ["a b"]}}
RUN = """\
name: small
data: {path: data.inter}
language_model: {layers: 1, width: 16, heads: 2}
prompts: {random_cuts: 1}
pretrain: {epochs: 1}
finetune: {epochs: 1, rank: 2, rslora: true, learning_rate: 0.05}
recommenders: [{model: popularity}]
output: out
"""


def idrec(*arguments, folder=None):
    return subprocess.run([IDREC, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=300)


def read_safetensors(path):
    """{name: (dtype, shape, bytes)}"""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:8 + length]), content[8 + length:]
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items() if name != "__metadata__"}


def numbers(tensor):
    kinds = {"F32": "f", "I32": "i", "I64": "q", "F64": "d"}
    return struct.unpack(f"<{math.prod(tensor[1])}{kinds[tensor[0]]}", tensor[2])


def write_base(folder, name):
    """The golden's model as a Hugging Face folder; returns the golden."""
    golden = read_safetensors(GOLDENS / f"transformer_{name}.safetensors")
    settings = json.loads((GOLDENS / f"transformer_{name}.json").read_text())
    config = {"model_type": "qwen2" if settings["attention_bias"] else "llama", "hidden_act": "silu",
              "vocab_size": settings["vocabulary"], "hidden_size": settings["width"],
              "num_hidden_layers": settings["layers"], "num_attention_heads": settings["query_heads"],
              "num_key_value_heads": settings["key_heads"], "head_dim": settings["head_width"],
              "intermediate_size": settings["hidden"], "rms_norm_eps": settings["norm_epsilon"],
              "rope_theta": settings["rope_theta"], "tie_word_embeddings": settings["tied"],
              "max_position_embeddings": 64}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    header, data = {}, b""
    for key, (dtype, shape, content) in golden.items():
        if key.startswith(("model.", "lm_head.")):
            header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
            data += content
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return golden


def log_softmax(row):
    largest = max(row)
    total = largest + math.log(sum(math.exp(value - largest) for value in row))
    return [value - total for value in row]


def compare(name, folder, golden, *options):
    """The golden's longest and its shortest sequence."""
    token, starts, logits = (numbers(golden[key]) for key in ("token", "starts", "logits"))
    width = golden["logits"][1][1]
    rows = [logits[row * width:(row + 1) * width] for row in range(len(token))]
    scale = max(map(abs, logits))
    for sequence in (0, len(starts) - 2):
        first, last = starts[sequence], starts[sequence + 1]
        words = ",".join(map(str, token[first:last]))
        result = idrec("score", folder, f"--tokens={words}", "--json", *options)
        check(result.returncode == 0, f"{name}: {result.stderr}")
        found = json.loads(result.stdout)
        check([entry["token"] for entry in found["tokens"]] == list(token[first:last]), f"{name}: tokens")
        check(found["tokens"][0]["log_probability"] is None, f"{name}: the first token has a probability")
        expected = [log_softmax(rows[place - 1])[token[place]] for place in range(first + 1, last)]
        gaps = [abs(entry["log_probability"] - value) for entry, value in zip(found["tokens"][1:], expected)]
        gaps += [abs(one - other) for one, other in zip(found["next_logits"], rows[last - 1], strict=True)]
        check(max(gaps) <= 1e-4 * scale, f"{name}: off by {max(gaps)} at a scale of {scale}")
        check(abs(found["log_probability"] - sum(expected)) <= 1e-3 * scale, f"{name}: the sum")


def test_goldens(folder):
    for name in ("plain", "bias"):
        compare(name, folder / name, write_base(folder / name, name))
    write_base(folder / "grouped_tied", "grouped_tied")
    for name in ("list", "stabilized", "expression"):
        adapter = GOLDENS / "adapters" / name
        compare(name, folder / "grouped_tied", read_safetensors(adapter / "golden.safetensors"), f"--adapter={adapter}")


def test_table_and_text(folder):
    base = folder / "plain"
    check_refusal(idrec("score", base, "--text=ab"), 2, "no tokenizer.json")
    (base / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    text = json.loads(idrec("score", base, "--text=ab ba", "--json").stdout)
    tokens = json.loads(idrec("score", base, "--tokens=8,7,6,5", "--json").stdout)
    check([entry["text"] for entry in text["tokens"]] == ["ab", "\u0120", "b", "a"], f"texts: {text['tokens']}")
    check(text == tokens, "a text and its tokens differ")
    table = idrec("score", base, "--text=ab ba", "--top=2").stdout.splitlines()
    best = sorted(range(37), key=lambda token: (-text["next_logits"][token], token))
    check(table[1].split() == ["0", "8", '"ab"', "-"], f"first line {table[1]!r}")
    check(table[2].split()[:3] == ["1", "7", '"\u0120"'], f"second line {table[2]!r}")
    check([int(line.split()[1]) for line in table[-2:]] == best[:2] and table[-3].split()[0] == "next", f"top 2: {table}")
    check(len(idrec("score", base, "--tokens=1", "--top=99").stdout.splitlines()) == 4 + 37, "--top above all")


def test_refusals(folder):
    base = folder / "plain"
    check_refusal(idrec("score"), 2, "CHECKPOINT")
    check_refusal(idrec("score", base), 2, "--tokens")
    check_refusal(idrec("score", base, "--tokens=1", "--text=a"), 2, "--tokens")
    for words in ("", "1,", "1,,2", "a", "-1", "1;2", "1.5", "99999999999999999999", "3000000000"):
        check_refusal(idrec("score", base, f"--tokens={words}"), 2, "--tokens: ")
    check_refusal(idrec("score", base, "--text="), 2, "no tokens")
    check_refusal(idrec("score", base, "--tokens=1,37"), 2, "token 37", "vocabulary of 37")
    check_refusal(idrec("score", base, "--tokens=1", "--top=0"), 2, "--top=0")
    check_refusal(idrec("score", base, "--tokens=1", "--device=abacus"), 2, "abacus")
    check_refusal(idrec("score", folder / "nothing", "--tokens=1"), 1, "config.json")
    check_refusal(idrec("score", base, "--tokens=1", f"--adapter={folder}"), 1, "adapter_config.json")
    check_refusal(idrec("score", base, "--tokens=" + ",".join(["1"] * 65)), 1, "64 tokens")
    check_refusal(idrec("merge", base, folder / "out"), 2, "has no adapter")
    check_refusal(idrec("merge", base, GOLDENS, folder / "out", "--dtype=f8"), 2, "--dtype=f8")
    check_refusal(idrec("merge", base, GOLDENS, folder / "out", "--shard-bytes=0"), 2, "--shard-bytes=0")
    check_refusal(idrec("merge", base, GOLDENS / "adapters" / "list", base), 2, "already there")
    check_refusal(idrec("merge", base, GOLDENS, folder / "out"), 1, "adapter_config.json")
    check(not (folder / "out").exists(), "a refused merge left a folder")


def test_run(folder):
    (folder / "small.yaml").write_text(RUN)
    synthesize(folder / "data.inter", "--users=60", "--items=40", "--interactions=10", "--factors=4", "--blocks=2")
    for stage in ("prepare", "pretrain"):
        check(idrec(stage, "small.yaml", folder=folder).returncode == 0, stage)
    check_refusal(idrec("score", folder / "out", "--tokens=0,5,6"), 1, "finetune")
    result = idrec("finetune", "small.yaml", folder=folder)
    check(result.returncode == 0, result.stderr)
    found = json.loads(idrec("score", folder / "out", "--tokens=0,5,6,2", "--json").stdout)
    check(len(found["next_logits"]) > 30 and found["adapter"].endswith("language_model/adapter"), "the run's model")
    plain = json.loads(idrec("score", folder / "out/language_model/base", "--tokens=0,5,6,2", "--json").stdout)
    result = idrec("merge", folder / "out", str(folder / "merged") + "/")
    check(result.returncode == 0 and " 2 of them merged" in result.stdout, f"merge: {result.stdout} {result.stderr}")
    merged = json.loads(idrec("score", folder / "merged", "--tokens=0,5,6,2", "--json").stdout)
    gaps = [max(abs(a - b) for a, b in zip(found["next_logits"], other["next_logits"])) for other in (merged, plain)]
    check(gaps[0] <= 1e-4 < gaps[1], f"the merged model is off by {gaps[0]}, the base by {gaps[1]}")
    shutil.rmtree(folder / "out")


def test_run_of_text(folder):
    """A run from scratch has the tokenizer that its configuration names."""
    (folder / "text.yaml").write_text(RUN.replace("{layers: 1,", "{vocabulary: text, positions: true, layers: 1,").replace(
        "heads: 2}", f"heads: 2, tokenizer: {GOLDENS / 'tokenizer_llama2.json'}}}"))
    for stage in ("prepare", "pretrain", "finetune"):
        result = idrec(stage, "text.yaml", folder=folder)
        check(result.returncode == 0, f"{stage} of text: {result.stderr}")
    found = json.loads(idrec("score", folder / "out", "--text=user", "--json").stdout)
    check([token["text"] for token in found["tokens"]][0] == "<s>", f"the run's tokens: {found['tokens']}")
    shutil.rmtree(folder / "out")


def test_info(folder):
    adapter = GOLDENS / "adapters" / "list"
    found = json.loads(idrec("info", adapter, "--json").stdout)
    check(found["settings"]["r"] == 3 and found["weights"]["files"] == 1, f"info of an adapter: {found}")
    result = idrec("merge", folder / "grouped_tied", adapter, folder / "shards", "--shard-bytes=4000")
    check(result.returncode == 0, result.stderr)
    found, whole = (json.loads(idrec("info", folder / name, "--json").stdout)["weights"] for name in ("shards", "grouped_tied"))
    check(found["files"] == len(list((folder / "shards").glob("model-*.safetensors"))) > 1, f"info of shards: {found}")
    check(found["tensors"] == whole["tensors"] and found["parameters"] == whole["parameters"], "tensors of shards")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        test_goldens(folder)
        test_table_and_text(folder)
        test_refusals(folder)
        test_info(folder)
        test_run(folder)
        test_run_of_text(folder)
    return status()


if __name__ == "__main__":
    sys.exit(main())
