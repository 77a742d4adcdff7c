"""Compares test_tokenizer with the `tokenizers` library on many texts: ids and decoded text, and how fast both encode.

    python compare_tokenizers.py TEST_TOKENIZER INTER_FILE [--texts N] [--files FILE.json ...]     (needs tokenizers)

TEST_TOKENIZER is the built tests/test_tokenizer, INTER_FILE the interactions of MovieLens 100k (ml-100k.inter.gz). Texts are
all prompts and answers of the paper's recipe on them, filled up to N with random Unicode, random IDs and the other texts of
tokenizer_texts.py. Files are those beside this program unless others are given. Speed is in seconds of processor time of one
thread: the library's encode(), on every tenth text, and its encode_batch_fast(), which leaves offsets out.
"""
import argparse
import glob
import os
import random
import struct
import subprocess
import sys
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAYON_NUM_THREADS", "1")
from tokenizers import Tokenizer  # noqa: E402

import tokenizer_texts as texts  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def make_texts(path, count, special):
    rng = random.Random(11)
    strings = list(texts.movielens_prompts(path, rng))[:count]
    prompts = len(strings)
    while len(strings) < count:
        kind = rng.random()
        strings.append(texts.random_unicode(rng) if kind < 0.3 else texts.random_ids(rng) if kind < 0.5
                       else texts.any_text(rng, special))
    return strings, prompts


def run_ours(program, file, encoded):
    """Returns the ids and decoded bytes of each text, and the seconds that encoding took."""
    given = b"".join(struct.pack("<I", len(one)) + one for one in encoded)
    done = subprocess.run([program, "--encode", file], input=given, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{program}: {done.stderr.decode()}")
    results, place = [], 0
    while place < len(done.stdout):
        count, = struct.unpack_from("<I", done.stdout, place)
        ids = list(struct.unpack_from(f"<{count}i", done.stdout, place + 4))
        place += 4 + 4 * count
        length, = struct.unpack_from("<I", done.stdout, place)
        results.append((ids, done.stdout[place + 4:place + 4 + length]))
        place += 4 + length
    return results, float(done.stderr.split()[-1])


def run_library(tokenizer, strings):
    start = time.process_time()
    encodings = tokenizer.encode_batch_fast(strings)
    batch = time.process_time() - start
    start = time.process_time()
    for one in strings[::10]:
        tokenizer.encode(one)
    one_by_one = time.process_time() - start
    ids = [encoding.ids for encoding in encodings]
    return [(one, back.encode("utf-8")) for one, back in zip(ids, tokenizer.decode_batch(ids))], one_by_one, batch


def compare(program, file, strings, prompts):
    tokenizer = Tokenizer.from_file(file)
    encoded = [one.encode("utf-8") for one in strings]
    megabytes, sampled = sum(map(len, encoded)) / 1e6, sum(map(len, encoded[::10])) / 1e6
    ours, seconds = run_ours(program, file, encoded)
    theirs, one_by_one, batch = run_library(tokenizer, strings)
    wrong = [index for index, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]]
    print(f"{os.path.basename(file)}: {len(strings)} texts ({prompts} of MovieLens), {megabytes:.1f} MB, "
          f"{sum(len(ids) for ids, _ in theirs)} tokens, {len(wrong)} differ; MB/s {megabytes / seconds:.1f}, library "
          f"{sampled / one_by_one:.1f} with offsets, {megabytes / batch:.1f} without", flush=True)
    for index in wrong[:5]:
        print(f"  {strings[index]!r}\n    ours   {ours[index]}\n    theirs {theirs[index]}")
    return len(wrong) + abs(len(ours) - len(theirs))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("interactions")
    parser.add_argument("--texts", type=int, default=100000)
    parser.add_argument("--files", nargs="+", default=sorted(glob.glob(os.path.join(HERE, "tokenizer_*.json"))))
    arguments = parser.parse_args()
    special = {token.content for file in arguments.files
               for token in Tokenizer.from_file(file).get_added_tokens_decoder().values()}
    strings, prompts = make_texts(arguments.interactions, arguments.texts, sorted(special))
    sys.exit(1 if sum([compare(arguments.program, file, strings, prompts) for file in arguments.files]) else 0)


if __name__ == "__main__":
    main()
