"""Recomputes AUC, GAUC and log-loss from predict's file and compares them with the
line that `pagoda evaluate` printed:  recompute_metrics.py SCORES.CSV EVALUATION"""
import collections
import csv
import re
import sys

from sklearn.metrics import log_loss, roc_auc_score

rows = list(csv.DictReader(open(sys.argv[1])))
score = [float(row["score"]) for row in rows]
label = [int(float(row["label"])) for row in rows]
text = open(sys.argv[2]).read()


def printed(name):
    return float(re.findall(rf"\b{name} ([-+0-9.e]+)", text)[-1])


want = {"AUC": roc_auc_score(label, score), "log-loss": log_loss(label, score)}
if "group" in rows[0]:
    groups = collections.defaultdict(list)
    for index, row in enumerate(rows):
        groups[row["group"]].append(index)
    total = weight = 0.0
    for members in groups.values():
        labels = [label[i] for i in members]
        if len(set(labels)) == 2:
            total += len(members) * roc_auc_score(labels, [score[i] for i in members])
            weight += len(members)
    want["GAUC"] = total / weight
worst = 0.0
for name, value in want.items():
    difference = abs(printed(name) - value)
    worst = max(worst, difference)
    print(f"{name}: printed {printed(name):.9f}, scikit-learn {value:.9f}, difference {difference:.1e}")
if worst > 1e-6:
    print(f"NOT MET: worst difference {worst:.1e}")
    sys.exit(1)
print(f"{', '.join(want)} of {len(rows)} rows: worst difference {worst:.1e}")
