#!/usr/bin/env python3
"""Runs train_bench and train_torch.py in turns, row by row, and writes one report of training steps.

    python3 bench/peers/train_compare.py            three rounds of a few steps of every row
    python3 bench/peers/train_compare.py --quick    one round, small batches: whether everything runs

A fresh process per row and side; the order changes from round to round.  Ratios are taken round by round; the median is
reported, and the range.  Threads of both sides are pinned to cores (OMP_PROC_BIND, OMP_PLACES) unless the caller says
otherwise.  Status 1: something did not run.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile
import time

from compare import ROOT, Failed, call, find_peers, machine, number, put_between, save_json, table

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS = ["resnet", "resnet_sparse", "vit", "vit_moe"]
# Time of PyTorch over ours.
GOALS = {"resnet": 1.0, "resnet_sparse": 1.3, "vit": 1.0, "vit_moe": 1.3}
BEGIN, END = "<!-- train results: begin -->", "<!-- train results: end -->"


def parse_arguments():
    p = argparse.ArgumentParser(description="train_bench beside PyTorch, in turns", epilog=__doc__.split("\n\n", 1)[1],
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", default=os.path.join(ROOT, "build", "bench", "bench", "train_bench"))
    p.add_argument("--python", action="append", help="an interpreter with torch; may be given several times "
                                                     "(default: /usr/bin/python3)")
    p.add_argument("--row", action="append", choices=ROWS, help="may be given several times (default: all)")
    p.add_argument("--dtype", action="append", choices=["fp32", "bf16"])
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--rounds", type=int)
    p.add_argument("--steps", type=int, help="timed steps of a process")
    p.add_argument("--timeout", type=float, default=600, help="seconds one process may take")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--json", default=os.path.join(ROOT, "build", "train.json"), help="all figures (build/train.json)")
    p.add_argument("--markdown", help="a file with result marks, such as docs/results/train.md, to put the table into")
    a = p.parse_args()
    a.rounds = a.rounds or (1 if a.quick else 3)
    a.steps = a.steps or (1 if a.quick else 2)
    a.batches = ["--resnet-batch", "16", "--vit-batch", "16"] if a.quick else []
    a.rows, a.dtypes = a.row or ROWS, a.dtype or ["fp32", "bf16"]
    a.python = a.python or ["/usr/bin/python3"]
    os.environ.setdefault("OMP_PROC_BIND", "close")
    os.environ.setdefault("OMP_PLACES", "cores")
    os.makedirs(os.path.dirname(os.path.abspath(a.json)), exist_ok=True)
    if not os.access(a.binary, os.X_OK):
        p.error("%s is not there; build it with: cmake --preset bench && cmake --build --preset bench "
                "--target train_bench (or give --binary)" % a.binary)
    if a.markdown and BEGIN not in open(a.markdown, encoding="utf-8").read():
        p.error("%s has no line %s" % (a.markdown, BEGIN))
    return a


def run_side(a, python, row, dtype):
    """One side's figures of a row, and of ours what the program says of its build."""
    options = ["--row", row, "--dtype", dtype, "--threads", str(a.threads), "--steps", str(a.steps)] + a.batches
    if python:
        return json.loads(call([python, os.path.join(HERE, "train_torch.py")] + options, a)), None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "row.json")
        call([a.binary, "--json", path] + options, a)
        with open(path, encoding="utf-8") as f:
            build = json.load(f)
    return build.pop("rows")[0], build


def measure(a, peers, report, save):
    start = time.monotonic()
    for turn in range(a.rounds):
        for row in a.rows:
            for dtype in a.dtypes:
                item = report["rows"].setdefault(row + " " + dtype, {"row": row, "dtype": dtype, "rounds": []})
                figures, errors = {}, []
                sides = [("ours", None)] + list(peers.items())
                for name, python in sides if turn % 2 == 0 else reversed(sides):
                    try:
                        figures[name], build = run_side(a, python, row, dtype)
                        if python:
                            report["torch"][name] = {"libraries": figures[name]["libraries"]}
                        else:
                            report["ours"] = build
                    except Failed as e:
                        errors.append("%s: %s" % (name, e))
                        print("train_compare: %s %s: %s" % (row, dtype, errors[-1]), file=sys.stderr)
                # The same network has the same number of parameters.
                counts = {n: f["params"] for n, f in figures.items()}
                if len(set(counts.values())) > 1:
                    errors.append("the numbers of parameters differ: %s" % counts)
                    print("train_compare: %s: %s" % (row, errors[-1]), file=sys.stderr)
                item["rounds"].append({"figures": figures, "errors": errors})
                save()
                text = ["%s %.0f ms" % (n, statistics.median(f["ms"])) for n, f in figures.items()]
                text += ["%.2f x" % ratios(item, p)[-1] for p in peers if p in figures and "ours" in figures]
                print("%6.0f s  round %d  %-13s %s  %s" % (time.monotonic() - start, turn + 1, row, dtype, ", ".join(text)),
                      flush=True)


def ratios(item, peer):
    """Per round: time of PyTorch over ours."""
    return [statistics.median(f[peer]["ms"]) / statistics.median(f["ours"]["ms"])
            for f in (r["figures"] for r in item["rounds"]) if "ours" in f and peer in f]


def side_cell(item, side):
    """Median and least milliseconds of a step, or why there are none."""
    runs = [r["figures"][side] for r in item["rounds"] if side in r["figures"]]
    if not runs:
        why = [e for r in item["rounds"] for e in r["errors"] if e.startswith(side + ": ")]
        return "cannot: " + (why[0][len(side) + 2:].replace("|", "/")[:100] if why else "not run")
    all_ms = [ms for r in runs for ms in r["ms"]]
    return "%.0f (%.0f)" % (statistics.median(all_ms), min(all_ms))


def results(report, peers):
    rows = []
    for item in report["rows"].values():
        ours = [r["figures"]["ours"] for r in item["rounds"] if "ours" in r["figures"]]
        ms = statistics.median([m for r in ours for m in r["ms"]]) if ours else None
        cells = ["%s %s" % (item["row"], item["dtype"]), side_cell(item, "ours"),
                 number(1e3 * ours[0]["batch"] / ms if ms else None, "%.0f"),
                 number(6e-6 * ours[0]["macs"] * ours[0]["batch"] / ms if ms else None, "%.0f")]
        for peer in peers:
            cells.append(side_cell(item, peer))
            found, goal = ratios(item, peer), GOALS[item["row"]]
            if not found:
                cells += ["-", "%.1f" % goal]
                continue
            ratio = statistics.median(found)
            cells.append("**%.2f** (%.2f to %.2f)" % (ratio, min(found), max(found)))
            cells.append("%.1f: %s" % (goal, "met" if ratio >= goal else "missed"))
        rows.append(cells)
    head = ["row", "ours, ms a step", "images/s", "GFLOP/s"]
    for peer in peers:
        head += [peer + ", ms a step", "ratio", "goal"]
    return ("Medians, and the least in brackets. Ratio: PyTorch's time over ours, median and range over rounds; above 1 PyTorch is "
            "slower.\n\n" + table(head, rows))


def heading(report, a):
    m, ours = report["machine"], report.get("ours", {})
    env = ", ".join("%s=%s" % e for e in m["environment"].items())
    lines = ["Measured %s on %s, %d of %d cores, load %.2f before the start; compiler %s, products by %s (fp32) and %s (bf16), "
             "%s; %s." % (m["date"], m["cpu"], m["threads"], m["cores"], m["load_before"], ours.get("compiler", "?"),
                          ours.get("maths_fp32", "?"), ours.get("maths_bf16", "?"), ours.get("isa", "?"), env)]
    lines += ["%s with %s." % (peer, ", ".join(t["libraries"])) for peer, t in report["torch"].items()]
    least = min((len(i["rounds"]) for i in report["rows"].values()), default=0)
    lines.append("Rounds: %d or more per row, each of %d steps after one.%s" %
                 (least, a.steps, " Small batches (--quick): the figures mean nothing." if a.quick else ""))
    return "\n".join(lines)


def main():
    a = parse_arguments()
    peers = find_peers(a)
    report = {"machine": machine(a), "steps": a.steps, "torch": {}, "rows": {}}
    if report["machine"]["load_before"] > 0.3:
        print("train_compare: load %.1f, the machine is not quiet" % report["machine"]["load_before"], file=sys.stderr)

    stopped = False
    try:
        measure(a, peers, report, lambda: save_json(a.json, report))
    except KeyboardInterrupt:
        stopped = True
        print("train_compare: stopped; what was measured is reported", file=sys.stderr)
    save_json(a.json, report)
    text = heading(report, a) + "\n\n" + results(report, peers)
    print("\n" + text)
    if a.markdown:
        put_between(a.markdown, BEGIN, END, text)
    return 1 if stopped or not peers or any(r["errors"] for i in report["rows"].values() for r in i["rounds"]) else 0


if __name__ == "__main__":
    sys.exit(main())
