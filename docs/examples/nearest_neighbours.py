"""Recommends by a library of nearest neighbours (FAISS) from what `idrec export` writes.

    idrec export runs/quickstart --recommender=lightgcn --output=lightgcn.h5
    python3 -m pip install h5py faiss-cpu
    python3 docs/examples/nearest_neighbours.py lightgcn.h5 --user=u12 --k=10

With the lists of `idrec recommend` it says how many items both have in common:

    idrec recommend runs/quickstart --recommender=lightgcn --k=10 > lists.tsv
    python3 docs/examples/nearest_neighbours.py lightgcn.h5 --compare=lists.tsv --k=10 --index=hnsw

A score is an INNER PRODUCT, so the index must search by it. An index of Euclidean distance, or of cosine over vectors made
one long (--cosine here), ranks differently: long item vectors, of popular items as a rule, lose their advantage.
"""

import argparse
import collections

import faiss
import h5py
import numpy


def load(path):
    with h5py.File(path) as file:
        if "users/embedding" not in file:
            raise SystemExit(f"{path} holds no vectors: export a recommender that has them, such as bpr_mf or lightgcn")
        starts, indices = file["known/indptr"][:], file["known/indices"][:]
        return {
            "users": file["users/id"].asstr()[:],
            "items": file["items/id"].asstr()[:],
            "user_vectors": file["users/embedding"][:],
            "item_vectors": file["items/embedding"][:],
            "known": [indices[first:last] for first, last in zip(starts, starts[1:])],
        }


def build_index(item_vectors, kind):
    width = item_vectors.shape[1]
    if kind == "exact":
        index = faiss.IndexFlatIP(width)
    else:
        index = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 200
    index.add(item_vectors)
    return index


def recommend(index, data, rows, k):
    """The top k items of users[rows] as (item, score), without those that a user has had: so many more are asked for."""
    known = [data["known"][row] for row in rows]
    wanted = min(k + max(map(len, known), default=0), len(data["items"]))
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = 4 * wanted
    scores, found = index.search(data["user_vectors"][rows], wanted)
    for seen, user_scores, user_items in zip(map(set, known), scores, found):
        yield [(item, score) for item, score in zip(user_items, user_scores) if item >= 0 and item not in seen][:k]


def common_items(lists, data, path):
    """Mean share of the items of a user's list in PATH, made by `idrec recommend`, that the list here holds too."""
    theirs = collections.defaultdict(set)
    with open(path, encoding="utf-8") as file:
        for line in file:
            user, item, rank, _ = line.rstrip("\n").split("\t")
            if int(rank) <= max(map(len, lists.values())):
                theirs[user].add(item)
    shares = [len(theirs[user] & {data["items"][item] for item, _ in ours}) / len(theirs[user])
              for user, ours in lists.items() if theirs[user]]
    return numpy.mean(shares), len(shares)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="what `idrec export` wrote")
    parser.add_argument("--user", help="raw id of a user whose list is printed")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--index", choices=("exact", "hnsw"), default="exact", help="all items, or a graph (approximate)")
    parser.add_argument("--cosine", action="store_true", help="rank by cosine, which is not the model's ranking")
    parser.add_argument("--compare", help="lists that `idrec recommend` printed")
    arguments = parser.parse_args()

    data = load(arguments.file)
    if arguments.cosine:
        faiss.normalize_L2(data["user_vectors"])
        faiss.normalize_L2(data["item_vectors"])
    index = build_index(data["item_vectors"], arguments.index)
    if arguments.user is not None:
        rows = numpy.flatnonzero(data["users"] == arguments.user)
        if len(rows) == 0:
            raise SystemExit(f"{arguments.file} has no user {arguments.user!r}")
        for rank, (item, score) in enumerate(next(recommend(index, data, rows[:1], arguments.k)), start=1):
            print(f"{arguments.user}\t{data['items'][item]}\t{rank}\t{score:.6g}")
    if arguments.compare:
        rows = numpy.arange(len(data["users"]))
        lists = dict(zip(data["users"], recommend(index, data, rows, arguments.k)))
        share, users = common_items(lists, data, arguments.compare)
        print(f"{100 * share:.2f} % of the items that `idrec recommend` lists are found, over {users} users")


if __name__ == "__main__":
    main()
