"""Texts that tokenizers are tried on: the prompts of LLM4IDRec, titles, several scripts, and what breaks tokenizers.

Shared by make_tokenizers.py and compare_tokenizers.py. Everything is drawn from the random.Random that is given.
"""
import gzip
import sys
import unicodedata

PROMPT = ("Given the user(u{user})'s clicked list items:{items}, predict what is the list items to recommend to the "
          "user(u{user}). Please only answer the item IDs.")
PROMPT_PAPER = ("Input: Given the user {user}'s clicked list items: {items}, predict what are items to recommend to the user "
                "{user}. Please only answer the items.\nOutput: ")

WORDS = """the of and a to in is you that it he was for on are as with his they I at be this have from or one had by word but
not what all were we when your can said there use an each which she do how their if will up other about out many then them
these so some her would make like him into time has look two more write go see number no way could people my than first water
been call who oil its now find long down day did get come made may part over new sound take only little work know place year
live me back give most very after thing our just name good sentence man think say great where help through much before line
right too mean old any same tell boy follow came want show also around form three small set put end does another well large
must big even such because turn here why ask went men read need land different home us move try kind hand picture again
change off play spell air away animal house point page letter mother answer found study still learn should America world
don't we'll they've I'm you'd it's SHE'S CAN'T""".split()
SCRIPTS = {
    "german": "Über die Größe der Wörter müßte man täglich schöne Bücher für Jünger öffnen".split(),
    "french": "L'été où naïve Noëlle a reçu l'œuvre déjà là-bas être garçon forêt".split(),
    "greek": "Ελληνική γλώσσα είναι η μητέρα όλων των λέξεων και ψυχή".split(),
    "russian": "Съешь же ещё этих мягких французских булок да выпей чаю Москва".split(),
    "arabic": "اللغة العربية جميلة جدا والكتاب على الطاولة ٠١٢٣٤٥٦٧٨٩".split(),
    "hebrew": "שָׁלוֹם עולם הספר על השולחן".split(),
    "hindi": "नमस्ते दुनिया यह एक पुस्तक है क्षत्रिय १२३४५".split(),
    "thai": "สวัสดีชาวโลก ภาษาไทย น้ำ ๑๒๓".split(),
    "chinese": "这是一个推荐系统的测试 用户点击了商品列表 然后预测下一个".split(),
    "japanese": "これはテストです ユーザーが カタカナ 推薦 システム パーティー".split(),
    "korean": "안녕하세요 세계 추천 시스템 사용자 목록 한국어".split(),
    "vietnamese": "Tiếng Việt có nhiều dấu thanh điệu khó đọc".split(),
    "decomposed": [unicodedata.normalize("NFD", word) for word in "Ångström café Việt 한국 ガギグ Čeština ế ộ".split()],
}
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "☕️", "❤️‍🔥", "🧑🏿‍🚀", "#️⃣"]
MARKS = ["\u0301", "\u0327", "\u0323", "\u0308", "\u093c", "\u20dd", "\ufe0f", "\u200d", "\u3099", "\u05b0"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n ", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\u1680",
          "\v", "\f", "\u180e", "\u200b", "\r"]
PIECES = ["'s", "'S", "'T", "'re", "'VE", "'ll", "'LL", "'d", "'ſ", "'", "''", "’s", "...", "--", "</", "<0x0A>", "<0x",
          "▁", "▁▁", "Ġ", "Ċ",
          "½", "²", "Ⅻ", "①", "٣", "ſ", "İ", "ß", "ﬁ", "Å", "Å", "Ω", "가", "각", "e\u0301", "\u0344", "\u0000",
          "\u0001", "\u001b", "\u007f", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\ue000", "\xad", "_", "a_b", "::", "!?",
          "http://x.org/a?b=1&c=2", "user@example.com", "3.14", "1,000,000", "0x1F", "#tag", "$5", "100%"]

ASSIGNED = None


def assigned_characters():
    """All characters that this Python's Unicode has (14 in Python 3.11): later ones belong to other classes elsewhere."""
    global ASSIGNED
    if ASSIGNED is None:
        ASSIGNED = [code for code in range(sys.maxunicode + 1)
                    if not 0xD800 <= code < 0xE000 and unicodedata.category(chr(code)) not in ("Cn", "Co")]
    return ASSIGNED


def random_items(rng, count, most=1682):
    return ",".join(f"i{rng.randint(1, most)}" for _ in range(count))


def prompt(rng, most=60):
    template = rng.choice([PROMPT, PROMPT, PROMPT_PAPER])
    return template.format(user=rng.randint(1, 99999),
                           items=random_items(rng, rng.randint(1, most), rng.choice([999, 38048])))


def sentence(rng, most=12):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))


def foreign(rng, most=6):
    words = SCRIPTS[rng.choice(sorted(SCRIPTS))]
    return rng.choice([" ", ""]).join(rng.choice(words) for _ in range(rng.randint(1, most)))


def random_unicode(rng, most=24):
    kind = rng.random()
    if kind < 0.4:
        return "".join(chr(rng.choice(assigned_characters())) for _ in range(rng.randint(1, most)))
    if kind < 0.7:  # a block, so that neighbours go together
        start = rng.choice(assigned_characters())
        near = [code for code in range(start, start + 64)
                if not 0xD800 <= code < 0xE000 and code < 0x110000 and unicodedata.category(chr(code)) not in ("Cn", "Co")]
        return "".join(chr(rng.choice(near or [start])) for _ in range(rng.randint(1, most)))
    return "".join(chr(rng.randint(0, 0x2FF)) for _ in range(rng.randint(1, most)))


def digits(rng):
    return "".join(rng.choice("0123456789") for _ in range(rng.choice([1, 3, 4, 7, 20, 60, 200])))


def random_ids(rng):
    return rng.choice([",", ", ", " ", "\n", ""]).join(
        rng.choice(["i", "u", "", "item_", "I"]) + str(rng.randint(0, 10 ** rng.randint(1, 9)))
        for _ in range(rng.randint(1, 30)))


def marks(rng):
    return "".join(rng.choice("aeoAEOcn가かक") + "".join(rng.choice(MARKS) for _ in range(rng.randint(0, 4)))
                   for _ in range(rng.randint(1, 6)))


def long_word(rng):
    letters = rng.choice(["ab", "abcdefghijklmnopqrstuvwxyz", "aeiou'", "<>|_", "=", "▁a", "éèü", " "])
    return "".join(rng.choice(letters) for _ in range(rng.randint(20, 300)))


def mixture(rng, special):
    """Pieces of all kinds side by side, among them the tokenizer's own added tokens."""
    parts = []
    for _ in range(rng.randint(1, 8)):
        kind = rng.random()
        if kind < 0.2:
            parts.append(rng.choice(SPACES) * rng.randint(1, 3))
        elif kind < 0.4:
            parts.append(rng.choice(special) if special else "<s>")
        elif kind < 0.5:
            parts.append(rng.choice(EMOJI))
        elif kind < 0.65:
            parts.append(rng.choice(PIECES))
        elif kind < 0.8:
            parts.append(rng.choice(WORDS))
        elif kind < 0.9:
            parts.append(foreign(rng, 2))
        else:
            parts.append(digits(rng)[:9])
    return "".join(parts)


def any_text(rng, special, prompt_length=30):
    kind = rng.random()
    if kind < 0.15:
        return prompt(rng, prompt_length)
    if kind < 0.25:
        return sentence(rng)
    if kind < 0.35:
        return foreign(rng)
    if kind < 0.5:
        return random_unicode(rng)
    if kind < 0.6:
        return random_ids(rng)
    if kind < 0.64:
        return digits(rng)
    if kind < 0.70:
        return marks(rng)
    if kind < 0.73:
        return long_word(rng)
    return mixture(rng, special)


def corpus(rng, count):
    """What the tokenizers for the tests are trained on."""
    for _ in range(count):
        kind = rng.random()
        yield (prompt(rng, 10) if kind < 0.3 else sentence(rng) if kind < 0.6 else foreign(rng) if kind < 0.9
               else mixture(rng, []))


def movielens_prompts(path, rng, cuts=20):
    """All prompts and answers that the paper's recipe makes of an .inter file: `cuts` times a user's items, shuffled and cut."""
    items = {}
    with gzip.open(path, "rt") as lines:
        next(lines)
        for line in lines:
            user, item = line.split("\t")[:2]
            items.setdefault(user, []).append(item)
    for user, liked in items.items():
        for _ in range(cuts if len(liked) > 2 else 0):
            rng.shuffle(liked)
            cut = rng.randint(1, len(liked) - 2)
            yield PROMPT.format(user=user, items=",".join("i" + item for item in liked[:cut]))
            yield ",".join("i" + item for item in liked[cut:])
