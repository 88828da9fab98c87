#!/usr/bin/env python3
"""Runs layer_bench and moe_torch.py in turns on the same rows and writes one report.

    python3 bench/peers/compare.py                  the default rows, about 8 minutes on 2 quiet cores
    python3 bench/peers/compare.py --quick          the same layers at T <= 2048, once, about a minute
    python3 bench/peers/compare.py --full           every row; an hour or more, --resume goes on with one that was stopped

Round 1 measures everything; the rounds after it measure the layer and PyTorch once more, in the other order.  Ratios to
PyTorch are taken round by round; the median is reported, and the range.  Rounds stop early when the time is used up.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ROWS = ["256,192,768,8,2", "2048,384,1536,8,2", "16384,192,768,8,2", "16384,384,1536,8,1", "16384,384,384,32,2"]
QUICK_ROWS = ["256,192,768,8,2", "2048,384,1536,8,2", "2048,192,768,8,2", "2048,384,1536,8,1", "2048,384,384,32,2"]
FULL_ROWS = ["%d,%d,%d,%d,%d" % (t, d, d * h, e, k)
             for t in (256, 2048, 16384) for d in (192, 384) for h in (1, 4) for e in (8, 32) for k in (1, 2)]
BEGIN, END = "<!-- layer results: begin -->", "<!-- layer results: end -->"


def parse_arguments():
    p = argparse.ArgumentParser(description="layer_bench beside PyTorch, in turns", epilog=__doc__.split("\n\n")[1],
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", default=os.path.join(ROOT, "build", "bench", "bench", "layer_bench"))
    p.add_argument("--python", action="append", help="an interpreter with torch; may be given several times "
                                                     "(default: /usr/bin/python3)")
    p.add_argument("--no-torch", action="store_true", help="only our own program")
    p.add_argument("--row", action="append", help="T,D,H,E,K; may be given several times")
    p.add_argument("--dtype", action="append", choices=["fp32", "bf16"])
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--rounds", type=int)
    p.add_argument("--seconds", type=float, help="time per case")
    p.add_argument("--repeats", type=int, default=3, help="least number of runs per case")
    p.add_argument("--budget", type=float, help="seconds after which no further round starts (0: no limit)")
    p.add_argument("--timeout", type=float, default=600, help="seconds one process may take")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--full", action="store_true")
    p.add_argument("--json", default=os.path.join(ROOT, "build", "layer.json"), help="all figures (build/layer.json)")
    p.add_argument("--resume", action="store_true", help="keep what --json has of an earlier run, measure the rest")
    p.add_argument("--markdown", help="a file with result marks, such as docs/results/layer.md, to put the tables into")
    a = p.parse_args()
    preset = (1, 0.1, 90) if a.quick else (1, 0.25, 0) if a.full else (3, 0.5, 480)
    a.rounds = preset[0] if a.rounds is None else a.rounds
    a.seconds = preset[1] if a.seconds is None else a.seconds
    a.budget = preset[2] if a.budget is None else a.budget
    a.rows = a.row or (FULL_ROWS if a.full else QUICK_ROWS if a.quick else ROWS)
    a.dtypes = a.dtype or ["fp32", "bf16"]
    a.python = [] if a.no_torch else (a.python or ["/usr/bin/python3"])
    os.makedirs(os.path.dirname(os.path.abspath(a.json)), exist_ok=True)
    if not os.access(a.binary, os.X_OK):
        p.error("%s is not there; build it with: cmake --preset bench && cmake --build --preset bench "
                "--target layer_bench (or give --binary)" % a.binary)
    if a.markdown and BEGIN not in open(a.markdown, encoding="utf-8").read():
        p.error("%s has no line %s" % (a.markdown, BEGIN))
    return a


class Failed(Exception):
    pass


def call(command, a):
    """Standard output of a process with the thread count of this comparison."""
    n = str(a.threads)
    env = dict(os.environ, OMP_NUM_THREADS=n, OPENBLAS_NUM_THREADS=n, MKL_NUM_THREADS=n)
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=a.timeout)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Failed(str(e))
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["status %d, no message" % done.returncode])[-1]
        raise Failed(last)
    return done.stdout


def run_ours(a, row, dtype, layer_only):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "row.json")
        command = [a.binary, "--row", row, "--dtype", dtype, "--threads", str(a.threads), "--seconds", str(a.seconds),
                   "--repeats", str(a.repeats), "--json", path] + (["--layer-only"] if layer_only else [])
        call(command, a)
        with open(path, encoding="utf-8") as f:
            out = json.load(f)
    row_figures = out.pop("rows")[0]
    return row_figures, out


def run_torch(a, python, row, dtype):
    return json.loads(call([python, os.path.join(HERE, "moe_torch.py"), "--row", row, "--dtype", dtype, "--threads",
                            str(a.threads), "--seconds", str(a.seconds), "--repeats", str(a.repeats)], a))


def find_peers(a):
    """Label -> interpreter, for the interpreters that have torch."""
    peers = {}
    for python in a.python:
        try:
            label = "torch " + call([python, "-c", "import torch; print(torch.__version__)"], a).strip()
        except Failed as e:
            print("compare: %s is left out, it has no torch (%s)" % (python, e), file=sys.stderr)
            continue
        while label in peers:
            label += "'"
        peers[label] = python
    return peers


def measure(a, peers, report, save):
    start, cost = time.monotonic(), {}
    jobs = [(row, dtype) for dtype in a.dtypes for row in a.rows]
    for turn in range(a.rounds):
        for row, dtype in jobs:
            item = report["rows"].setdefault(row + " " + dtype, {"row": row, "dtype": dtype, "rounds": []})
            if len(item["rounds"]) > turn:
                continue
            used = time.monotonic() - start
            if turn and a.budget and used + cost.get((row, dtype), 0) > a.budget:
                print("compare: %.0f s are used, round %d stops here" % (used, turn + 1), file=sys.stderr)
                return
            begin, figures, errors = time.monotonic(), {}, []
            runs = [("ours", None)] + list(peers.items())
            for name, python in runs if turn % 2 == 0 else reversed(runs):
                at = time.monotonic()
                try:
                    if python:
                        figures[name] = run_torch(a, python, row, dtype)
                        report["torch"][name] = {"libraries": figures[name]["libraries"]}
                    else:
                        figures[name], build = run_ours(a, row, dtype, turn > 0)
                        report["ours"] = build
                except Failed as e:
                    errors.append("%s: %s" % (name, e))
                    print("compare: %s %s: %s" % (row, dtype, errors[-1]), file=sys.stderr)
                if turn == 0 and not python:
                    begin += time.monotonic() - at - 2  # later rounds run the layer only
            item["rounds"].append({"figures": figures, "errors": errors})
            cost[row, dtype] = time.monotonic() - begin
            save()
            used = time.monotonic() - start
            print("%6.0f s  round %d  %-20s %s  %s" % (used, turn + 1, row, dtype, brief(item, peers)), flush=True)


# ---- figures --------------------------------------------------------------------------------------------------------

def layer_ms(item, part):
    values = [r["figures"]["ours"]["ms"]["layer." + part]["median"] for r in item["rounds"] if "ours" in r["figures"]]
    return statistics.median(values) if values else None


def layer_least(item, part):
    return min((r["figures"]["ours"]["ms"]["layer." + part]["least"] for r in item["rounds"] if "ours" in r["figures"]),
               default=None)


def torch_ratios(item, peer, part):
    """Per round: variant -> time of PyTorch over ours."""
    out = []
    for r in item["rounds"]:
        f = r["figures"]
        if "ours" in f and peer in f:
            ours = f["ours"]["ms"]["layer." + part]["median"]
            out.append({v: ms[part]["median"] / ours for v, ms in f[peer]["ms"].items()})
    return out


def torch_ratio(item, peer, part):
    """(median, least, largest, variant) of the variant that is PyTorch's fastest, or None."""
    rounds = torch_ratios(item, peer, part)
    if not rounds:
        return None
    best = min(rounds[0], key=lambda v: statistics.median(r[v] for r in rounds))
    values = [r[best] for r in rounds]
    return statistics.median(values), min(values), max(values), best


def details(item):
    """The round that has every part, or None."""
    for r in item["rounds"]:
        if "routing_share" in r["figures"].get("ours", {}).get("derived", {}):
            return r["figures"]["ours"]
    return None


def brief(item, peers):
    ms = layer_ms(item, "both")
    if ms is None:
        return "not measured"
    text = "forward %.2f ms, both %.2f ms" % (layer_ms(item, "forward"), ms)
    for peer in peers:
        ratio = torch_ratio(item, peer, "both")
        if ratio:
            text += ", %s %.2f x" % (peer, ratio[0])
    return text


def number(x, form="%.2f"):
    return "-" if x is None else form % x


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] +
                     ["| " + " | ".join(r) + " |" for r in rows])


def tables(report, peers):
    items = list(report["rows"].values())
    name = lambda i: "%s %s" % (" ".join("%s%s" % p for p in zip("TDHEK", i["row"].split(","))), i["dtype"])
    first, second, third = [], [], []
    for i in items:
        full = details(i)
        d = full["derived"] if full else {}
        f, both = layer_ms(i, "forward"), layer_ms(i, "both")
        flop = full["flops_forward"] if full else None
        rate = lambda ms, n: None if not (ms and flop) else n * flop / ms * 1e-6
        pair = lambda key: "%s, %s" % (number(d.get(key + ".forward")), number(d.get(key + ".both")))
        timed = lambda part: "%s (%s)" % (number(layer_ms(i, part)), number(layer_least(i, part)))
        cells = [name(i), timed("forward"), timed("both"), number(rate(f, 1), "%.0f"), number(rate(both, 3), "%.0f"),
                 pair("dense_over_ours"), pair("loop_over_ours"), number(d.get("hvp_over_gradient"))]
        for peer in peers:
            forward, total = torch_ratio(i, peer, "forward"), torch_ratio(i, peer, "both")
            cells.append("-" if not total else "%.2f, **%.2f** (%.2f to %.2f, %s)" % (forward[0], *total))
        first.append(cells)
        if not full:
            continue
        for p in ("forward", "data_gradient", "weight_gradient"):
            second.append([name(i), p.replace("_", " ")] +
                          [number(d["gflops.%s.%s" % (k, p)], "%.0f") for k in ("layer", "experts", "ceiling")] +
                          [number(d["of_ceiling.%s.%s" % (k, p)]) for k in ("layer", "experts", "products")])
        stage = lambda s: number(full["ms"]["stage." + s]["median"], "%.3f")
        third.append([name(i)] + [stage(s) for s in ("router", "gather", "experts", "combine")] +
                     ["%.1f %%" % (100 * d["routing_share"]), "%.2f" % d["stages_over_layer"]] +
                     [stage(s + "_backward") for s in ("combine", "experts", "gather", "router")] +
                     ["%.2f" % full["load_ratio"]])
    parts = ["**Times.** Medians, and the least in brackets. A peer's column is its time over ours, "
             "forward and forward + backward: above 1 the peer is slower. HVP: time of one Hessian-vector product over "
             "one forward + backward. PyTorch: its faster variant; in brackets the range over rounds.",
             table(["row", "forward ms", "both ms", "GFLOP/s forward", "GFLOP/s both", "dense MLP", "loop", "HVP",
                    *peers], first),
             "**Passes.** GFLOP/s of the pass inside the layer, of the experts alone, and of the same products with "
             "nothing around them (the ceiling). Last three columns: share of the ceiling that the layer, its experts, "
             "and the products inside the experts (their time less that of the activations alone) reach.",
             table(["row", "pass", "layer", "experts", "ceiling", "layer / ceiling", "experts / ceiling",
                    "products / ceiling"], second),
             "**Stages**, ms. Share: router + gather + combine in forward. Sum: stages over the layer's own forward.",
             table(["row", "router", "gather", "experts", "combine", "share", "sum", "combine back", "experts back",
                    "gather back", "router back", "fullest expert / mean"], third), targets(items, peers)]
    return "\n\n".join(p for p in parts if p)


def targets(items, peers):
    rows = []

    def add(what, value, goal, met):
        rows.append([what, value, goal, "yes" if met else "no"])

    for i in items:
        full = details(i)
        if full and i["row"].startswith("16384,384,1536,") and i["dtype"] == "fp32":
            share = full["derived"]["routing_share"]
            add("router + gather + combine of forward, fp32", "%.1f %% (%s)" % (100 * share, i["row"]), "at most 10 %",
                share <= 0.1)
    hvp = [(details(i)["derived"]["hvp_over_gradient"], i["row"]) for i in items
           if details(i) and "hvp_over_gradient" in details(i)["derived"]]
    if hvp:
        add("Hessian-vector product over gradient, largest", "%.2f (%s)" % max(hvp), "at most 4", max(hvp)[0] <= 4)
    for dtype in ("fp32", "bf16"):
        for p in ("forward", "data_gradient", "weight_gradient"):
            reached = [(details(i)["derived"]["of_ceiling.products." + p], i["row"]) for i in items
                       if i["dtype"] == dtype and details(i)]
            if reached:
                add("products of the %s over their ceiling, %s, least" % (p.replace("_", " "), dtype),
                    "%.2f (%s)" % min(reached), "at least 0.85", min(reached)[0] >= 0.85)
    for peer in peers:
        for dtype in ("fp32", "bf16"):
            ratios = [(torch_ratio(i, peer, "both")[0], i["row"]) for i in items
                      if i["dtype"] == dtype and torch_ratio(i, peer, "both")]
            if ratios:
                add("%s over ours, %s, both passes, least" % (peer, dtype), "%.2f (%s)" % min(ratios), "at least 2",
                    min(ratios)[0] >= 2)
    return "**Goals.**\n\n" + table(["what", "measured", "goal", "met"], rows) if rows else ""


def machine(a):
    cpu = platform.machine()
    try:
        with open("/proc/cpuinfo") as f:
            cpu = next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    kept = re.compile(r"^(OMP|KMP|GOMP|OPENBLAS|MKL|DNNL|ONEDNN|MALLOC)_|^LD_PRELOAD$")
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": a.threads, "load_before": os.getloadavg()[0],
            "date": time.strftime("%Y-%m-%d"),
            "environment": {k: v for k, v in sorted(os.environ.items()) if kept.match(k)}}


def heading(report):
    m, ours = report["machine"], report.get("ours", {})
    env = ", ".join("%s=%s" % e for e in m["environment"].items()) or "no OpenMP or allocator settings"
    lines = ["Measured %s on %s, %d of %d cores, load %.2f before the start; compiler %s, products by %s (fp32) and %s "
             "(bf16), %s; %s." % (m["date"], m["cpu"], m["threads"], m["cores"], m["load_before"],
                                  ours.get("compiler", "?"), ours.get("maths_fp32", "?"),
                                  ours.get("maths_bf16", "?"), ours.get("isa", "?"), env)]
    for peer, t in report["torch"].items():
        lines.append("%s with %s." % (peer, ", ".join(t["libraries"]) or "libraries unknown"))
    least = min((len(i["rounds"]) for i in report["rows"].values()), default=0)
    lines.append("Rounds: %d or more per row; %.2g s and %d runs or more per case." %
                 (least, report["seconds"], report["repeats"]))
    return "\n".join(lines)


def save_json(path, report):
    with open(path + ".part", "w", encoding="utf-8") as f:
        json.dump(report, f, indent=1)
        f.write("\n")
    os.replace(path + ".part", path)


def put_between(path, begin, end, text):
    """Replaces what stands between two marks of a page."""
    with open(path, encoding="utf-8") as f:
        before, rest = f.read().split(begin, 1)
    with open(path, "w", encoding="utf-8") as f:
        f.write(before + begin + "\n" + text + "\n" + end + rest.split(end, 1)[1])


def take_earlier(a, peers, report):
    """Rounds without an error that a.json has, if they were measured in the same way."""
    with open(a.json, encoding="utf-8") as f:
        old = json.load(f)
    facts = lambda r, names: {"seconds": r["seconds"], "repeats": r["repeats"], "peers": names,
                              **{k: r["machine"][k] for k in ("cpu", "threads", "environment")}}
    was, now = facts(old, sorted(old["torch"])), facts(report, sorted(peers))
    for key in was:
        if was[key] != now[key]:
            raise SystemExit("compare: --resume: %s was measured with %s %s, this run has %s; give the same, or another "
                             "--json" % (a.json, key, was[key], now[key]))
    first = old["machine"]["date"].split(" to ")[0]
    if first != report["machine"]["date"]:
        report["machine"]["date"] = first + " to " + report["machine"]["date"]
    report["torch"], report["rows"] = old["torch"], old["rows"]
    if "ours" in old:
        report["ours"] = old["ours"]
    for item in report["rows"].values():
        item["rounds"] = [r for r in item["rounds"] if not r["errors"]]


def main():
    a = parse_arguments()
    peers = find_peers(a)
    report = {"machine": machine(a), "seconds": a.seconds, "repeats": a.repeats, "torch": {}, "rows": {}}
    if report["machine"]["load_before"] > 0.3:
        print("compare: load %.1f, the machine is not quiet" % report["machine"]["load_before"], file=sys.stderr)

    if a.resume and os.path.exists(a.json):
        take_earlier(a, peers, report)
    save = lambda: save_json(a.json, report)
    stopped = False
    try:
        measure(a, peers, report, save)
    except KeyboardInterrupt:
        stopped = True
        print("compare: stopped; what was measured is reported", file=sys.stderr)
    save()
    text = heading(report) + "\n\n" + tables(report, peers)
    print("\n" + text)
    if a.markdown:
        put_between(a.markdown, BEGIN, END, text)
    failed = any(r["errors"] for i in report["rows"].values() for r in i["rounds"])
    return 1 if failed or stopped else 0


if __name__ == "__main__":
    sys.exit(main())
