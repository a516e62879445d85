#!/usr/bin/env python3
"""deploy/prepare_interactions.py: the files it makes, and what it refuses in words."""

import gzip
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "deploy", "prepare_interactions.py")


class PrepareInteractions(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def write(self, name, text):
        if name.endswith(".gz"):
            with gzip.open(self.path(name), "wt") as file:
                file.write(text)
        else:
            with open(self.path(name), "w") as file:
                file.write(text)
        return self.path(name)

    def read(self, name):
        with open(os.path.join(self.path("out"), name)) as file:
            return file.read()

    def run_script(self, kind, source):
        return subprocess.run(
            [sys.executable, SCRIPT, kind, source, self.path("out")],
            capture_output=True, text=True, check=False,
        )

    def refused(self, kind, source, *words):
        done = self.run_script(kind, source)
        self.assertEqual(done.returncode, 1, done.stdout)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(os.listdir(self.path("out")), [])

    def test_sets_become_pairs(self):
        self.write("train.txt", "0 5 6\n1 7\n2\n")
        self.write("valid.txt.gz", "0 9\n")
        self.write("test.txt", "1 5\n3 6\n\n")
        done = self.run_script("gowalla", self.directory.name)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.read("train.csv"), "user,item\n0,5\n0,6\n1,7\n")
        self.assertEqual(self.read("valid.csv"), "user,item\n0,9\n")
        self.assertEqual(self.read("test.csv"), "user,item\n1,5\n3,6\n")
        self.assertEqual(self.read("items.csv"), "item\n5\n6\n7\n9\n")
        self.assertIn("4 users, 4 items", done.stdout)
        self.assertIn("1 users of the test set", done.stdout)

    def test_sets_that_overlap_or_miss_are_refused(self):
        self.write("train.txt", "0 5 6\n")
        self.write("valid.txt", "0 9\n")
        self.refused("gowalla", self.directory.name, "no test.txt")
        self.write("test.txt", "1 3\n0 8 6\n")
        self.refused("gowalla", self.directory.name, "test.txt:2", "item 6", "in train")
        self.write("test.txt", "1 3\n0 8 8\n")
        self.refused("gowalla", self.directory.name, "test.txt", "twice")
        self.write("test.txt", "1 3\n1 4\n")
        self.refused("gowalla", self.directory.name, "test.txt:2", "user 1", "line 1")
        self.write("test.txt", "1 x3\n")
        self.refused("gowalla", self.directory.name, "test.txt:1", "'x3'")
        self.write("test.txt", "\n")
        self.refused("gowalla", self.directory.name, "test.txt", "no lines")

    def test_sequences_leave_one_out(self):
        source = self.write("s.txt.gz", "1 10 11 12 13 14\n2 20 21 22\n3 10 20\n")
        done = self.run_script("beauty", source)
        self.assertEqual(done.returncode, 0, done.stderr)
        head = "user,history,item\n"
        self.assertEqual(self.read("train.csv"), head + "1,10 11,12\n")
        self.assertEqual(self.read("valid.csv"), head + "1,10 11 12,13\n2,20,21\n")
        self.assertEqual(
            self.read("test.csv"), head + "1,10 11 12 13,14\n2,20 21,22\n3,10,20\n"
        )
        self.assertEqual(self.read("items.csv"), "item\n10\n11\n12\n13\n14\n20\n21\n22\n")
        self.assertIn("3 users, 8 items, 10 events", done.stdout)

    def test_bad_sequences_are_refused(self):
        self.refused("beauty", self.write("s.txt", "1 10 11\n2 20\n"), "s.txt:2", "user 2")
        self.refused("beauty", self.write("s.txt", "1 10 -1\n"), "s.txt:1", "'-1'")
        self.refused("beauty", self.path("nowhere.txt"), "nowhere.txt")
        whole = gzip.compress(b"1 10 11 12\n" * 3)
        with open(self.path("cut.gz"), "wb") as file:
            file.write(whole[: len(whole) - 9])
        self.refused("beauty", self.path("cut.gz"), "cut.gz")


if __name__ == "__main__":
    unittest.main()
