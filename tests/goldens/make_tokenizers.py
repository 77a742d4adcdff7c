"""Trains a small tokenizer.json for each family and writes what the `tokenizers` library makes of about 1,000 texts.

Writes tokenizer_NAME.json beside this file, with the components of the family's own files in their order, and
tokenizers.h5: texts/{bytes, end}, UTF-8 with an integer for each byte, and for each family NAME/{tokens, token_end} (with
special tokens), NAME/{decoded, decoded_end}, what they decode to without special tokens where that is not the text itself,
else nothing, and NAME/same, 1 where it is the text. Training breaks ties anyhow, so files differ from run to run.

    python make_tokenizers.py        (needs tokenizers, h5py, numpy)
"""
import json
import os
import random

import h5py
import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import tokenizer_texts as texts

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def special(content, **settings):
    return AddedToken(content, **{"normalized": False, "special": True, **settings})


def train(tokenizer, size, first_tokens, alphabet=None, limit=None):
    limits = {} if limit is None else {"limit_alphabet": limit}
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=first_tokens, show_progress=False, min_frequency=2,
                                  initial_alphabet=alphabet or [], **limits)
    tokenizer.train_from_iterator(texts.corpus(random.Random(1), 3000), trainer)
    return tokenizer


def byte_level(size, first_tokens=(), **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return train(tokenizer, size, list(first_tokens), pre_tokenizers.ByteLevel.alphabet())


def gpt2():
    tokenizer = byte_level(600)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=True, special=True)])
    return tokenizer


def llama3():
    tokenizer = byte_level(600)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([special(f"<|{name}|>") for name in (
        "begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1", "start_header_id",
        "end_header_id", "eot_id")])
    begin = "<|begin_of_text|>"
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(), processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1",
            special_tokens=[(begin, tokenizer.token_to_id(begin))])])
    return tokenizer


def qwen2():
    tokenizer = byte_level(600)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.add_special_tokens([special(name) for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in ("<think>", "</think>", "<tool_call>")])
    return tokenizer


def smollm():
    tokenizer = byte_level(600, [special(name) for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def sentence_piece(size=640):
    """As SentencePiece's: unknown, begin, end, bytes, then what was trained on text with ▁ for blanks."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    train(tokenizer, size, [special(name) for name in ("<unk>", "<s>", "</s>")] + BYTES, limit=140)
    reduced = json.loads(tokenizer.to_str())
    reduced["added_tokens"] = reduced["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(reduced))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def llama2():
    tokenizer = sentence_piece()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None
    return tokenizer


def mistral(scheme, split):
    tokenizer = sentence_piece(560)
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    return tokenizer


def unknown(fuse):
    """No bytes for unknown characters, added tokens of every kind, a normaliser that takes expressions, Metaspace back."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"[\r\n]+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    train(tokenizer, 420, ["<unk>"], limit=90)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Split(Regex(r"\p{N}{1,2}"), "merged_with_next"),
         pre_tokenizers.Split("-", "merged_with_previous"), pre_tokenizers.Split(Regex(r"[!?.,]"), "contiguous"),
         pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex("[a-z▁]+"), "removed", invert=True)]
        if not fuse else [pre_tokenizers.Metaspace(prepend_scheme="never")])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_tokens([
        AddedToken("<left>", lstrip=True, normalized=False), AddedToken("<right>", rstrip=True, normalized=False),
        AddedToken("<both>", lstrip=True, rstrip=True, normalized=False),
        AddedToken("word", single_word=True, normalized=False), AddedToken("wordy", normalized=True), AddedToken("e\u0301t\u00e9", normalized=True), AddedToken("<", normalized=True),
        AddedToken("<right><", normalized=False)])
    tokenizer.add_special_tokens([AddedToken("a\nb", normalized=True, special=True)])
    return tokenizer


FAMILIES = {
    "gpt2": gpt2, "llama3": llama3, "qwen2": qwen2, "smollm": smollm, "llama2": llama2,
    "metaspace_always": lambda: mistral("always", True), "metaspace_first": lambda: mistral("first", False),
    "metaspace_never": lambda: mistral("never", False), "unknown": lambda: unknown(False),
    "unknown_fused": lambda: unknown(True),
}


def added_texts(document):
    return [token["content"] for token in document["added_tokens"]]


def write_json(name, tokenizer):
    document = json.loads(tokenizer.to_str())
    model = document["model"]
    if name in ("gpt2", "llama2", "smollm"):  # the merges' older form
        model["merges"] = [" ".join(pair) for pair in model["merges"]]
    if name == "llama3":  # tokens that only ignore_merges reaches, as the family's own file has
        model["ignore_merges"] = True
        del model["merges"][20::9]
        made = {left + right for left, right in model["merges"]} | {token for token in model["vocab"] if len(token) == 1}
        model["merges"] = [pair for pair in model["merges"] if pair[0] in made and pair[1] in made]
    path = os.path.join(HERE, f"tokenizer_{name}.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")
    return path, document


def pack(strings):
    encoded = [string.encode("utf-8") for string in strings]
    values = np.frombuffer(b"".join(encoded), dtype=np.uint8).astype(np.int32)
    return values, np.cumsum([len(one) for one in encoded], dtype=np.int64)


def make_texts(contents, count=1000):
    rng = random.Random(7)
    fixed = ["", " ", "  ", "\n", "a", " a", "a ", "▁", "é", "e\u0301", "\u0000", "<s>", "<s> a", "</s>", "Hello world",
             "  Hello   world  ", "\r\n\r\n", "١٢٣", "<0x41>", "word", "swordy word word.", "<left>  <right>  <both> x",
             "a\nb a b", "été e\u0301te\u0301", "i12345,i678", "x" * 500, "ab" * 400, " " * 100]
    return fixed + [texts.any_text(rng, contents, 12) for _ in range(count - len(fixed))]


def main():
    written = {}
    for name, make in FAMILIES.items():
        written[name] = write_json(name, make())
    contents = sorted({text for _, document in written.values() for text in added_texts(document)})
    strings = make_texts(contents)
    with h5py.File(os.path.join(HERE, "tokenizers.h5"), "w") as file:
        def put(name, data):
            file.create_dataset(name, data=data, compression=9, shuffle=True, chunks=(max(1, len(data)),))
        file.attrs["tokenizers"] = tokenizers.__version__
        for part, data in zip(("bytes", "end"), pack(strings)):
            put(f"texts/{part}", data)
        for name, (path, _) in written.items():
            tokenizer = Tokenizer.from_file(path)
            ids = [tokenizer.encode(string).ids for string in strings]
            put(f"{name}/tokens", np.concatenate([np.array(one, dtype=np.int32) for one in ids]))
            put(f"{name}/token_end", np.cumsum([len(one) for one in ids], dtype=np.int64))
            decoded = [tokenizer.decode(one) for one in ids]
            same = np.array([one == string for one, string in zip(decoded, strings)], dtype=np.int32)
            put(f"{name}/same", same)
            kept = ["" if known else one for one, known in zip(decoded, same)]
            for part, data in zip(("decoded", "decoded_end"), pack(kept)):
                put(f"{name}/{part}", data)
            print(name, os.path.getsize(path), tokenizer.get_vocab_size(), sum(map(len, ids)), same.sum())
    print(os.path.getsize(os.path.join(HERE, "tokenizers.h5")))


if __name__ == "__main__":
    main()
