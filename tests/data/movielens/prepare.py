#!/usr/bin/env python3
"""Makes the files of this folder from MovieLens ml-latest-small.

  prepare.py DIR    DIR holds ratings.csv and movies.csv, or ratings.csv.gz and movies.csv.gz
  prepare.py --verify DIR
                    makes them in memory and compares them with the files of this folder

ratings.csv.gz  every rating, in the source's order, with the genres of its film: userId, movieId, rating, timestamp, genres
movies.csv.gz   every film, in the source's order: movieId, title, genres

Lines end with "\\n" (the source has "\\r\\n"). The same input gives the same text on any machine.

One timestamp of the copy that these files were made from was damaged, and is repaired here in the open: see DAMAGED.
"""
import csv
import gzip
import io
import pathlib
import sys

# (userId, movieId) -> the damaged cell, and what it reads as: the URL that was pasted into the number is taken out, nothing
# else. This was not compared with GroupLens' own file; the eight digits before the URL already fix the time to 10 seconds.
DAMAGED = {
    ("5", "39"): ("84743496 https://files.grouplens.org/datasets/movielens/ml-latest-small1", "847434961"),
}

HERE = pathlib.Path(__file__).resolve().parent


def read_rows(folder, name):
    plain = folder / name
    packed = folder / (name + ".gz")
    raw = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
    return list(csv.reader(io.StringIO(raw.decode("utf-8"), newline="")))


def to_text(rows):
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8")


def make(folder):
    movies = read_rows(folder, "movies.csv")
    ratings = read_rows(folder, "ratings.csv")
    assert movies[0] == ["movieId", "title", "genres"], movies[0]
    assert ratings[0] == ["userId", "movieId", "rating", "timestamp"], ratings[0]
    for row in ratings[1:]:
        damaged, repaired = DAMAGED.get((row[0], row[1]), ("", ""))
        if row[3] == damaged:
            print(f"repaired the timestamp of user {row[0]}, film {row[1]}: {damaged!r} -> {repaired}")
            row[3] = repaired
        if not row[3].isdigit():
            sys.exit(f"ratings.csv: user {row[0]}, film {row[1]}: the timestamp is not a number: {row[3]!r}")
    genres = {row[0]: row[2] for row in movies[1:]}
    joined = [ratings[0] + ["genres"]] + [row + [genres[row[1]]] for row in ratings[1:]]
    return {"ratings.csv.gz": to_text(joined), "movies.csv.gz": to_text(movies)}


def main():
    arguments = [a for a in sys.argv[1:] if a != "--verify"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    verify = "--verify" in sys.argv[1:]
    for name, text in make(pathlib.Path(arguments[0])).items():
        path = HERE / name
        if verify:
            same = gzip.decompress(path.read_bytes()) == text
            print(f"{name}: {'equal' if same else 'DIFFERENT'}")
            if not same:
                sys.exit(1)
        else:
            path.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
            print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
