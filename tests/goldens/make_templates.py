"""Writes templates.json: prompts of text as tokens, piece by piece, by the `tokenizers` library.

The tokenizers are those of make_tokenizers.py. A piece that goes on from a text is encoded without what a tokenizer puts before a
text, by a tokenizer that does not put it there. `whole` tells whether the tokens are those of the text in one piece.

    python make_templates.py        (needs tokenizers)
"""
import json
import os

from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
USERS = ["0", "7", "12", "385", "70021", "u-9", "Zoë"]
ITEMS = ["0", "1", "10", "31", "100", "117", "4", "48", "38047", "2005", "77", "9", "903", "61"]
LISTS = [[], [3], [5, 2], [8, 0], [1, 2, 3], [13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]

# Texts before the user and, where there is a second one, between the users; the items' list follows the last of `before`.
TEMPLATES = {
    "published": {"before": ["Given the user(u", ")'s clicked list items:"],
                  "after": [", predict what is the list items to recommend to the user(u", "). Please only answer the item IDs."],
                  "separator": ",", "apart": True},
    "paper": {"before": ["Input: Given the user u", "'s clicked list items: "],
              "after": [", predict what are items to recommend to the user u", ". Please only answer the items.\nOutput: "],
              "separator": ", ", "apart": False},
}
CHATS = {
    "none": ("", "", ""),
    "llama2": ("[INST] ", " [/INST]", " "),
    "llama3": ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", ""),
    "chatml": ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", ""),
    "mistral": ("[INST] ", "[/INST]", " "),
}
# tokenizer, template, chat, the end of an answer
CASES = [("llama2", "published", "none", "</s>"), ("llama2", "paper", "none", "</s>"), ("llama2", "paper", "llama2", "</s>"),
         ("llama2", "paper", "mistral", "</s>"), ("metaspace_first", "published", "none", "</s>"),
         ("llama3", "published", "none", "<|end_of_text|>"), ("llama3", "paper", "llama3", "<|eot_id|>"),
         ("qwen2", "published", "chatml", "<|im_end|>"), ("qwen2", "paper", "chatml", "<|im_end|>"),
         ("qwen2", "paper", "none", "<|endoftext|>")]


class Pieces:
    """Encodes a text, and what goes on from one."""

    def __init__(self, name):
        with open(os.path.join(HERE, f"tokenizer_{name}.json"), encoding="utf-8") as file:
            text = file.read()
        self.tokenizer = Tokenizer.from_str(text)
        fields = json.loads(text)
        normalizer = fields["normalizer"]
        if normalizer and normalizer["type"] == "Sequence":
            normalizer["normalizers"] = [n for n in normalizer["normalizers"] if n["type"] != "Prepend"]
        pre = fields["pre_tokenizer"]
        if pre and pre["type"] == "Metaspace":
            pre["prepend_scheme"] = "never"
        self.following = Tokenizer.from_str(json.dumps(fields))

    def first(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def next(self, text):
        return self.following.encode(text, add_special_tokens=False).ids if text else []

    def beginning(self):
        return self.tokenizer.encode("").ids

    def end(self, token):
        return [self.tokenizer.token_to_id(token)]


def listed(pieces, items, separator):
    """All of a list but the "i" of its first item."""
    tokens = pieces.next(items[0])
    for item in items[1:]:
        tokens += pieces.next(f"{separator}i{item}")
    return tokens


def prompt(pieces, template, chat, user, items, answer, end):
    before, after, blank = CHATS[chat]
    texts = [before + template["before"][0], template["before"][1] + ("i" if items else "")]
    tokens = pieces.beginning() + pieces.first(texts[0]) + pieces.next(user) + pieces.next(texts[1])
    tokens += listed(pieces, items, template["separator"]) if items else []
    last = template["after"][1] + after
    kept = last if template["apart"] else last.rstrip(" ")
    lead, last = "" if template["apart"] else last[len(kept):] + blank, kept
    tokens += pieces.next(template["after"][0]) + pieces.next(user) + pieces.next(last)
    context = texts[0] + user + texts[1] + (f"{template['separator']}i").join(items) + template["after"][0] + user + last
    if answer is None:
        return tokens, context, None
    text = lead + template["separator"].join(f"i{item}" for item in answer)
    tokens += pieces.first(f"i{answer[0]}") if template["apart"] else pieces.next(f"{lead}i{answer[0]}")
    for item in answer[1:]:
        tokens += pieces.next(f"{template['separator']}i{item}")
    if template["apart"]:
        whole = pieces.tokenizer.encode(context).ids + pieces.first(text)
    else:
        whole = pieces.tokenizer.encode(context + text).ids
    return tokens + pieces.end(end), context + text, tokens == whole


def main():
    cases = []
    for tokenizer, name, chat, end in CASES:
        pieces, template, prompts = Pieces(tokenizer), TEMPLATES[name], []
        for number, items in enumerate(LISTS):
            user, named = number % len(USERS), [ITEMS[item] for item in items]
            context, text, _ = prompt(pieces, template, chat, USERS[user], named, None, end)
            entry = {"user": user, "items": items, "context": context, "context_text": text}
            if items:
                cut = 1 if len(items) > 1 else 0
                entry["training"], entry["text"], entry["whole"] = prompt(pieces, template, chat, USERS[user], named[:cut],
                                                                          named[cut:], end)
            prompts.append(entry)
        cases.append({"tokenizer": tokenizer, "template": name, "chat": chat, "end": pieces.end(end)[0], "prompts": prompts})
    with open(os.path.join(HERE, "templates.json"), "w", encoding="utf-8") as file:
        json.dump({"users": USERS, "items": ITEMS, "cases": cases}, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
