"""Trains digits.json: a small tokenizer for models from scratch, built as that of Llama 2 is.

Unknown, begin and end of text, a token for each byte, the printable ASCII characters, and byte-pair merges within words:
digits and punctuation stay by themselves, so that an id is cut digit by digit. It is trained on the sentences below with
random numbers, which were written for this project: the file has the project's licence and nothing of any published tokenizer.

    python configs/tokenizers/make_tokenizers.py        (needs tokenizers)
"""
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE = 512
SENTENCES = [
    "Given the user(u{user})'s clicked list items:{items}, predict what is the list items to recommend to the user(u{user}). "
    "Please only answer the item IDs.",
    "Input: Given the user {user}'s clicked list items: {items}, predict what are items to recommend to the user {user}. "
    "Please only answer the items.\nOutput: {items}",
    "What would user_{user} like to buy next, having bought {items}? The next item is {items}",
    "The user u{user} has seen, read, liked or rated these books, films, songs and products: {items}. Recommend new ones.",
]


def corpus(generator, count):
    for _ in range(count):
        items = ",".join(f"i{generator.randrange(100000)}" for _ in range(generator.randint(1, 20)))
        yield generator.choice(SENTENCES).format(user=generator.randrange(100000), items=items)


def trained():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("▁", "merged_with_next"), pre_tokenizers.Split(Regex(r"[^▁\p{L}]"), "isolated")])
    specials = [AddedToken(name, normalized=False, special=True) for name in ("<unk>", "<s>", "</s>")]
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, show_progress=False, min_frequency=2, special_tokens=specials + [f"<0x{byte:02X}>" for byte in range(256)],
        initial_alphabet=["▁"] + [chr(code) for code in range(33, 127)])
    tokenizer.train_from_iterator(corpus(random.Random(1), 5000), trainer)
    return tokenizer


def as_llama2(tokenizer):
    """The components of the file as Llama 2's has them; bytes are ordinary tokens."""
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = document["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.pre_tokenizer = None
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def main():
    document = json.loads(as_llama2(trained()).to_str())
    with open(os.path.join(HERE, "digits.json"), "w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
