#!/usr/bin/env python3
"""Joins the JSON of gpu_bench and of moe_torch_gpu.py into Markdown: layers beside floor and peers, then the stages.

    table.py gpu_bench.json peers.json [train.json train_peers.json] > table.md      any file may be missing
"""
import json
import sys

PEERS = ["loop", "loop_compiled", "grouped", "grouped_compiled", "scattermoe", "megablocks", "sonicmoe"]
OTHERS = ["liger"]  # another layer of the same FLOP: shown, and in no ratio
# Microseconds on an H200 with capacity 1.0, forward and backward: the first stage of the design's plan.
TARGETS = {"R1": (2150, 4350), "R2": (620, 1230), "R3": (45, 85), "R4": (850, 1600)}
# Forward and backward together of the vision rows: TFLOP/s of the experts' products, or microseconds.
RATES = {"V4": 230, "V6": 400, "V7": 520}
LIMITS = {"V5": 160}
# Microseconds of a forward pass of Soft MoE that the design works out for an H200: the experts' products, routing whose
# matrices go through memory (logits, softmax kernel, products: what is built), and routing by two kernels that never
# write them.
SOFT = {"S1": (37, 68, 19), "S2": (150, 91, 38), "S3": (391, 107, 59), "S4": (599, 135, 77), "S5": (783, 195, 131),
        "S6": (440, 183, 165), "S7": (783, 224, 220)}
FORWARD = ["router forward", "gather (not in the layer)", "fc1 product", "fc2 product", "combine"]
BACKWARD = ["combine backward", "fc2 data gradient", "fc1 data gradient", "fc1 weight gradient", "fc2 weight gradient",
            "gather backward", "router backward"]


def load(path):
    try:
        with open(path) as f:
            return json.load(f)
    except (OSError, ValueError) as e:
        print("No figures from `%s`: %s\n" % (path.rsplit("/", 1)[-1], e.__class__.__name__))
        return {"blocks": []}


def table(head, lines):
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join(["---"] * 3 + ["--:"] * (len(head) - 3)) + "|")
    for line in lines:
        print("| " + " | ".join(line) + " |")
    print()


def key(b):
    return b["row"], b["capacity"], b["routing"]


def number(x):
    return "-" if x is None else "%.1f" % x


def target(b, name):
    """Microseconds that a pass of a block should take, or None.  Those of R1 to R4 are for capacity 1.0."""
    if b["row"] in TARGETS and b["capacity"] != "unlimited":
        forward, backward = TARGETS[b["row"]]
        return {"forward": forward, "backward": backward, "forward + backward": forward + backward}[name]
    if name != "forward + backward":
        return None
    if b["row"] in RATES:
        return 12e-6 * b["T"] * b["K"] * b["D"] * b["H"] / RATES[b["row"]]
    return LIMITS.get(b["row"])


def verdict(us, wanted):
    return "-" if us is None or wanted is None else "yes" if us <= wanted else "NO"


def layers(blocks, peers):
    """A padded layer computes what a layer with capacity 1.0 does: its peers are those of that capacity."""
    used, others = ([p for p in some if any(p in b["figures"] for b in peers.values())] for some in (PEERS, OTHERS))
    lines = []
    for k in dict.fromkeys([*blocks, *peers]):
        b = blocks.get(k)
        figures = {f["stage"]: f for f in b["figures"]} if b else {}
        same = (k[0], "1.0" if k[1] == "padded" else k[1], k[2])
        them = peers.get(same, {"figures": {}})["figures"]
        for name, theirs in (("forward", "forward_us"), ("backward", None), ("forward + backward", "both_us")):
            if not theirs and not figures:
                continue
            graph, eager = figures.get(name + ", graph"), figures.get(name + ", eager")
            line = [k[0], "%s, %s" % k[1:], name]
            wanted = target(b, name) if b else None
            line += ["%.2f" % b["fullest_over_mean"] if b else "-", number(graph and graph["floor_us"]),
                     number(graph and graph["us"]), "%.2f" % graph["ratio"] if graph else "-", number(wanted),
                     verdict(graph and graph["us"], wanted), number(eager and eager["us"])]
            times = [them.get(p, {}).get(theirs) for p in used]
            line += [number(t) for t in times]
            known = [t for t in times if t is not None]
            line.append("%.2f" % (min(known) / graph["us"]) if known and graph else "-")
            line += [number(them.get(p, {}).get(theirs)) for p in others]
            lines.append(line)
    table(["row", "capacity, routing", "pass", "fullest/mean", "floor us", "ours us (graph)", "ours/floor", "target us",
           "met", "ours us (eager)", *("%s us" % p for p in used), "best peer/ours",
           *("%s us (another layer)" % p for p in others)], lines)


def stages(blocks, names, title):
    print("### %s\n" % title)
    print("Microseconds, and in brackets how many times the floor; b: bytes make the floor, f: products.\n")
    lines = []
    for k, b in blocks.items():
        figures = {f["stage"]: f for f in b["figures"]}
        cells = []
        for n in names:
            f = figures.get(n) or figures.get(n.split(" (")[0])  # padded layers do gather
            cells.append("%.1f (%.2f %s)" % (f["us"], f["ratio"], f["bound"][0]) if f else "-")
        whole = figures.get(title.lower() + ", graph")
        parts = [figures[n]["us"] for n in (m.split(" (")[0] for m in names) if n in figures]
        cells.append("%.2f" % (sum(parts) / whole["us"]) if whole and parts else "-")
        lines.append([k[0], k[1], k[2], *cells])
    table(["row", "capacity", "routing", *names, "sum/layer"], lines)


def libraries(blocks):
    lines = []
    for b in blocks:
        for f in b["figures"]:
            wanted = f.get("target_us")
            lines.append([b["row"], f["stage"], "", "%.1f" % f["floor_us"], "%.1f" % f["us"], "%.2f" % f["ratio"],
                          number(wanted), verdict(f["us"], wanted)])
    table(["row", "what", "", "floor us", "us", "us/floor", "target us", "met"], lines)


def routing(blocks):
    """The router's forward alone: at most twice its floor, and 10 us at R3."""
    lines = []
    for k, b in blocks.items():
        f = {f["stage"]: f for f in b["figures"]}.get("router forward")
        if f and b["row"] in TARGETS:
            wanted = 10 if b["row"] == "R3" else 2 * f["floor_us"]
            lines.append([k[0], "%s, %s" % k[1:], "", number(f["floor_us"]), number(f["us"]), "%.2f" % f["ratio"],
                          number(wanted), verdict(f["us"], wanted)])
    table(["row", "capacity, routing", "", "floor us", "us", "us/floor", "target us", "met"], lines)


def soft(blocks):
    """Forward passes of Soft MoE beside the design's figures for the routing that is built and for the fused one."""
    lines = []
    for b in blocks:
        f = {f["stage"]: f for f in b["figures"]}.get("forward, graph")
        if f and b["row"] in SOFT:
            experts, built, fused = SOFT[b["row"]]
            lines.append([b["row"], "forward", "", number(f["floor_us"]), number(f["us"]), "%.2f" % f["ratio"],
                          number(experts + built), "%.2f" % (f["us"] / (experts + built)), number(experts + fused),
                          "%.2f" % (f["us"] / (experts + fused))])
    table(["row", "pass", "", "floor us", "ours us (graph)", "ours/floor", "design, as built us", "ours/as built",
           "design, fused us", "ours/fused"], lines)


def recipes(blocks):
    """What the layers say of their products, those with a fallback first and by name."""
    where = {}
    for b in blocks:
        if b.get("recipe"):
            where.setdefault((b.get("fused", True), b["recipe"]), []).append("%s/%s" % (b["row"], b["capacity"]))
    for (fused, text), rows in sorted(where.items()):
        print("- %s%s: %s" % ("" if fused else "**NOT FUSED** ", ", ".join(dict.fromkeys(rows)), text))
    print()


def training(ours, theirs):
    lines = []
    for arm in ("dense", "moe"):
        mine = {r["how"]: r for r in ours.get("results", []) if r["arm"] == arm}
        peer = {r["how"]: r for r in theirs.get("results", []) if r["arm"] == arm}
        known = [r["ms"] for r in peer.values()]
        lines.append([arm, *(number(r[h]["ms"] * 1e3) if h in r else "-"
                             for r, h in ((mine, "graph"), (mine, "eager"), (peer, "eager"), (peer, "compiled"))),
                      "%.0f" % mine["graph"]["images_per_second"] if "graph" in mine else "-",
                      "%.2f" % (min(known) / mine["graph"]["ms"]) if known and "graph" in mine else "-"])
    table(["arm", "ours us (graph)", "ours us (eager)", "PyTorch us (eager)", "PyTorch us (compiled)", "ours images/s",
           "PyTorch/ours"], lines)
    for r in ours.get("results", []):
        if r["how"] == "graph" and not r.get("fused", True):
            print("- **NOT FUSED** %s: %s\n" % (r["arm"], "; ".join(l for l in r["recipe"].splitlines() if "NOT " in l)))
    for f in theirs.get("failed", []):
        print("- PyTorch, %s\n" % f)


def main():
    if len(sys.argv) not in (3, 5):
        sys.exit(__doc__)
    ours, theirs = load(sys.argv[1]), load(sys.argv[2])
    for what, when in (("ceilings", "before"), ("ceilings_at_the_end", "after")):
        if what in ours:
            c = ours[what]
            print("Ceilings, %s: bf16 product 8192^3 %.1f TFLOP/s, multiply-adds in float %.1f TFLOP/s; copy, read + "
                  "written, %.2f TB/s (cudaMemcpyAsync), %.2f TB/s (kernel), %.2f TB/s (within L2).\n"
                  % (when, c["bf16_product_tflops"], c["float_tflops"], c["copy_memcpy_tbs"], c["copy_kernel_tbs"],
                     c["copy_cached_tbs"]))
    if "torch" in theirs:
        print("Peers: PyTorch %s, CUDA %s.\n" % (theirs["torch"], theirs["cuda"]))
    blocks, peers = {key(b): b for b in ours["blocks"]}, {key(b): b for b in theirs["blocks"]}
    if blocks or peers:
        print("## Layers\n")
        print("Targets: microseconds on an H200, see bench/README.md; met: by the graph.\n")
        layers(blocks, peers)
    if blocks:
        print("## Stages\n")
        stages(blocks, FORWARD, "Forward")
        stages(blocks, BACKWARD, "Backward")
        print("## The router's forward\n")
        routing(blocks)
        if any(b["row"] in SOFT for b in ours["blocks"]):
            print("## Soft MoE\n")
            print("The floor is of this machine and of the steps as they are built (bench/gpu/soft_rows.cu); the design's "
                  "figures are the experts' products and the routing's floor on an H200, written out and fused.\n")
            soft(ours["blocks"])
        print("## Recipes\n")
        recipes(ours["blocks"])
    if ours.get("routers"):
        print("## Routers that look at columns\n")
        print("Routing alone (bench/gpu/router_rows.cu); the floor is that of rows and plan, and of iterations from L2.\n")
        libraries(ours["routers"])
    if ours.get("libraries"):
        print("## CUB and Thrust\n")
        print("Beside kernels of ours where both exist (bench/gpu/library_rows.cu); the floor moves every byte once.\n")
        libraries(ours["libraries"])
    if len(sys.argv) == 5:
        mine, peer = load(sys.argv[3]), load(sys.argv[4])
        if mine.get("results") or peer.get("results"):
            size = mine if "dim" in mine else peer
            print("## A training step\n")
            print("ViT %dx%d, patch 4 of 32x32, batch %d, bf16: dense, and top-2 of 8 in every block (bench/gpu/train_bench.cu).\n"
                  % (size["depth"], size["dim"], size["batch"]))
            training(mine, peer)
    trouble = list(ours.get("failures", []))
    why = {}
    for k, b in peers.items():
        for v, text in b["left_out"].items():
            why.setdefault((v, text), []).append(k)
        trouble += ["%s %s %s, %s: %s" % (*k, v, text) for v, text in b["failed"].items()]
        for v, f in b["figures"].items():
            if f["note"]:
                why.setdefault((v, "note: " + f["note"]), []).append(k)
    if trouble:
        print("## Failed\n")
        print("".join("- %s\n" % t for t in trouble))
    if why:
        print("## Peers: left out, or not quite the same layer\n")
        for (v, text), where in why.items():
            rows = " everywhere" if len(where) == len(peers) else ": " + ", ".join("/".join(k) for k in where)
            print("- %s, %s (%d blocks%s)" % (v, text, len(where), "" if len(where) < len(peers) else "," + rows))


if __name__ == "__main__":
    main()
