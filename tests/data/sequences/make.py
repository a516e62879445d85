#!/usr/bin/env python3
"""Makes the files of this folder: a small generated world of people who browse a shop.

  make.py           writes them
  make.py --verify  makes them in memory and compares them with the files of this folder

80 items in 8 categories. A person likes two categories; nine events of ten stay in the category of the event before and
move on to one of the next three items of its ring, so the next item can be learnt from the order of events; the tenth
jumps. A click on an offered item is likely when it is one of those that would come next. Every draw is
random.Random(seed).random(), which Python promises not to change: the same files on any machine.
"""
import csv
import gzip
import io
import pathlib
import random
import sys

HERE = pathlib.Path(__file__).resolve().parent
CATEGORIES, PER_CATEGORY, PEOPLE = 8, 10, 150


def item_of(category, place):
    return 1 + category * PER_CATEGORY + place % PER_CATEGORY


def category_of(item):
    return (item - 1) // PER_CATEGORY


def below(draws, bound):
    return int(draws.random() * bound)


def next_item(draws, item, liked):
    if draws.random() < 0.1:
        return item_of(liked[below(draws, len(liked))], below(draws, PER_CATEGORY))
    return item_of(category_of(item), (item - 1) % PER_CATEGORY + 1 + below(draws, 3))


def sequence_of(draws):
    liked = [below(draws, CATEGORIES), below(draws, CATEGORIES)]
    items = [item_of(liked[0], below(draws, PER_CATEGORY))]
    length = 5 + below(draws, 10)
    while len(items) < length:
        items.append(next_item(draws, items[-1], liked))
    return items, liked


def follows(before, item):
    step = ((item - 1) - (before - 1)) % PER_CATEGORY
    return category_of(before) == category_of(item) and 1 <= step <= 3


def cells(items):
    return [" ".join(map(str, items)), " ".join(str(category_of(i)) for i in items)]


def click_row(draws, user, items, liked):
    history = items[: len(items) - 1]
    if draws.random() < 0.5:
        item = next_item(draws, history[-1], liked)
    else:
        item = 1 + below(draws, CATEGORIES * PER_CATEGORY)
    chance = 0.85 if follows(history[-1], item) else 0.1
    label = 1 if draws.random() < chance else 0
    device = ["phone", "tablet", "desktop"][below(draws, 3)]
    return [user, device] + cells(history) + [item, category_of(item), label]


def to_text(rows):
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8")


def make():
    draws = random.Random(20240601)
    following = ["user", "history", "categories", "item", "category"]
    offered = ["user", "device", "history", "categories", "item", "category", "label"]
    splits = {"train": 2, "valid": 1, "test": 0}
    next_rows = {name: [following] for name in splits}
    clicks = {"train": [offered], "test": [offered]}
    for user in range(1, PEOPLE + 1):
        items, liked = sequence_of(draws)
        for name, cut in splits.items():
            kept = items[: len(items) - cut]
            next_rows[name].append([user] + cells(kept[:-1]) + [kept[-1], category_of(kept[-1])])
        for k in range(4):
            clicks["train" if k < 3 else "test"].append(click_row(draws, user, items, liked))
    corpus = [["item", "category"]] + [[i, category_of(i)] for i in range(1, CATEGORIES * PER_CATEGORY + 1)]
    files = {f"next_{name}.csv.gz": to_text(rows) for name, rows in next_rows.items()}
    files.update({f"clicks_{name}.csv.gz": to_text(rows) for name, rows in clicks.items()})
    files["items.csv.gz"] = to_text(corpus)
    return files


def main():
    if sys.argv[1:] not in ([], ["--verify"]):
        sys.exit(__doc__)
    for name, text in make().items():
        if sys.argv[1:]:
            if gzip.decompress((HERE / name).read_bytes()) != text:
                sys.exit(f"{name} is not what make.py makes")
            print(f"{name}: as made")
        else:
            (HERE / name).write_bytes(gzip.compress(text, 9, mtime=0))
            print(f"{name}: {text.count(10) - 1} rows")


if __name__ == "__main__":
    main()
