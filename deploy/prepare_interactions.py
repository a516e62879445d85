#!/usr/bin/env python3
"""Turns published interaction data into the CSV files that job files read.

  prepare_interactions.py gowalla DIRECTORY OUTPUT
      DIRECTORY has train.txt, valid.txt and test.txt (.gz or not): "user item item ..." a line.
      OUTPUT/train.csv, valid.csv, test.csv: user,item, one interaction a row; items.csv: item.
  prepare_interactions.py beauty FILE OUTPUT
      FILE has "user item item ..." a line, in time order (.gz or not); leave-one-out.
      OUTPUT/test.csv: user,history,item with each user's last item; valid.csv with the one
      before it, train.csv with the one before that; the history is all items before, separated
      by spaces. items.csv: item. Users whose history would be empty are left out of that file.

Ids are the data's own numbers. A bad line ends the program, named by file and line, and
OUTPUT is then as it was. Standard library only.
"""

import argparse
import gzip
import os
import shutil
import sys
import tempfile


class BadData(Exception):
    pass


def find_file(directory, name):
    for candidate in (name, name + ".gz"):
        path = os.path.join(directory, candidate)
        if os.path.isfile(path):
            return path
    raise BadData(f"{directory}: there is no {name} or {name}.gz")


def read_lists(path):
    """Yields (line number, user, items) of each line that is not blank."""
    opener = gzip.open if path.endswith(".gz") else open
    seen = {}
    count = 0
    try:
        with opener(path, "rt", encoding="ascii") as file:
            for number, line in enumerate(file, 1):
                cells = line.split()
                if not cells:
                    continue
                for cell in cells:
                    if not cell.isdigit() or int(cell) >= 1 << 64:
                        raise BadData(f"{path}:{number}: '{cell[:40]}' is not an unsigned integer")
                user, *items = map(int, cells)
                if user in seen:
                    raise BadData(f"{path}:{number}: user {user} stands in line {seen[user]}, too")
                seen[user] = number
                count += 1
                yield number, user, items
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadData(f"{path}: {error}") from error
    if count == 0:
        raise BadData(f"{path}: the file has no lines")


def write_rows(path, header, rows):
    count = 0
    with open(path, "w", encoding="ascii") as file:
        file.write(header + "\n")
        for row in rows:
            file.write(",".join(map(str, row)) + "\n")
            count += 1
    return count


def prepare_sets(directory, output):
    """Sets of interactions: train, valid and test share no pair of user and item."""
    parts = ("train", "valid", "test")
    found = {}  # (user, item) -> part
    rows = {part: [] for part in parts}
    users, items = set(), set()
    for part in parts:
        path = find_file(directory, part + ".txt")
        for number, user, listed in read_lists(path):
            for item in listed:
                before = found.setdefault((user, item), part)
                if before != part:
                    raise BadData(f"{path}:{number}: user {user} has item {item} in {before}, too")
                rows[part].append((user, item))
            users.add(user)
            items.update(listed)
        if len(set(rows[part])) != len(rows[part]):
            raise BadData(f"{path}: a user has an item twice")
    known = {user for user, _ in rows["train"]} | {user for user, _ in rows["valid"]}
    strangers = {user for user, _ in rows["test"]} - known
    counts = [
        f"{write_rows(os.path.join(output, part + '.csv'), 'user,item', rows[part])} {part}"
        for part in parts
    ]
    write_rows(os.path.join(output, "items.csv"), "item", ([item] for item in sorted(items)))
    return (
        f"{len(users)} users, {len(items)} items; rows: {', '.join(counts)}; "
        f"{len(strangers)} users of the test set are in no other"
    )


def prepare_sequences(path, output):
    """Leave-one-out: the last item is the test's, the one before it the validation's."""
    sequences = []
    items = set()
    for number, user, listed in read_lists(path):
        if len(listed) < 2:
            raise BadData(f"{path}:{number}: user {user} has {len(listed)} items; 2 are needed")
        sequences.append((user, listed))
        items.update(listed)
    counts = []
    for part, back in (("train", 3), ("valid", 2), ("test", 1)):
        rows = (
            (user, " ".join(map(str, listed[:-back])), listed[-back])
            for user, listed in sequences
            if len(listed) > back
        )
        count = write_rows(os.path.join(output, part + ".csv"), "user,history,item", rows)
        counts.append(f"{count} {part}")
    write_rows(os.path.join(output, "items.csv"), "item", ([item] for item in sorted(items)))
    events = sum(len(listed) for _, listed in sequences)
    return f"{len(sequences)} users, {len(items)} items, {events} events; rows: {', '.join(counts)}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("gowalla", "beauty"))
    parser.add_argument("input")
    parser.add_argument("output")
    arguments = parser.parse_args()
    prepare = prepare_sets if arguments.kind == "gowalla" else prepare_sequences
    os.makedirs(arguments.output, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.output) as scratch:
        try:
            summary = prepare(arguments.input, scratch)
        except BadData as error:
            print(f"prepare_interactions.py: {error}", file=sys.stderr)
            return 1
        for name in sorted(os.listdir(scratch)):
            shutil.move(os.path.join(scratch, name), os.path.join(arguments.output, name))
    print(f"{arguments.output}: {summary}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
