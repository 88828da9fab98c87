#!/usr/bin/env python3
"""Runs bench/gpu/run with stand-ins for nvidia-smi, cmake, ctest, the benches and PyTorch, and reads what it leaves: which
files, what was built in which order, which phases failed, and what table.py makes of figures that are known."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = os.path.join(os.path.dirname(HERE), "run")


def figure(stage, us, floor=100.0, **more):
    return {"stage": stage, "us": us, "floor_us": floor, "ratio": us / floor, "bound": "flop", **more}


def block(row, capacity, forward, backward, recipe="layer: a", **more):
    sizes = {"R1": (65536, 768, 3072, 16, 2), "V6": (65536, 384, 1536, 8, 2), "S3": (50176, 768, 3072, 128, 1)}[row]
    figures = [figure("router forward", 30.0, 20.0), figure("fc1 product", 500.0)]
    for name, us in (("forward", forward), ("backward", backward), ("forward + backward", forward + backward)):
        figures += [figure(name + ", graph", us), figure(name + ", eager", us + 50)]
    if capacity == "soft":  # whole passes only
        figures = figures[2:]
    return {"row": row, **dict(zip("TDHEK", sizes)), "capacity": capacity,
            "routing": "slots" if capacity == "soft" else "uniform", "placed": 1.0,
            "fullest_over_mean": 1.5, "figures": figures, "recipe": recipe, "fused": "NOT " not in recipe, **more}


def peer(row, capacity, both):
    return {"row": row, "capacity": capacity, "routing": "uniform", "left_out": {"sonicmoe": "none"}, "failed": {},
            "figures": {v: {"forward_us": us / 3, "both_us": us, "batches": 5, "note": ""} for v, us in both.items()}}


CEILINGS = {"bf16_product_tflops": 700.0, "copy_memcpy_tbs": 4.0, "copy_kernel_tbs": 4.1, "float_tflops": 60.0,
            "copy_cached_tbs": 5.5}
BENCH = {"ceilings": CEILINGS, "failures": [], "libraries": [],
         "routers": [{"row": "R1", "figures": [figure("expert choice, forward", 13.0, 5.0, target_us=12.0)]}],
         "blocks": [block("R1", "1.0", 2000.0, 4400.0), block("R1", "padded", 2200.0, 4000.0, "layer: b; dgelu NOT fused"),
                    block("V6", "unlimited", 800.0, 1500.0), block("S3", "soft", 747.0, 1600.0)]}
PEERS = {"torch": "2.0", "cuda": "13.0",
         "blocks": [peer("R1", "1.0", {"loop": 12800.0, "grouped": 9300.0}),
                    peer("V6", "unlimited", {"loop": 4600.0, "liger": 1200.0})]}
TRAIN = {"dim": 192, "depth": 12, "batch": 256, "results": [
    {"arm": "moe", "how": "graph", "ms": 10.0, "images_per_second": 25600.0, "fused": False, "recipe": "fc1 NOT fused\nfc2"}]}
TRAIN_PEERS = {"results": [{"arm": "moe", "how": "compiled", "ms": 25.0}], "failed": []}


def script(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("#!/bin/bash\n" + text)
    os.chmod(path, 0o755)


def give(result):
    """A program that writes `result` to the file behind --json."""
    return ("echo \"ran $0 $*\"\nwhile (($#)); do [[ $1 != --json ]] || cat >\"$2\" <<'EOF'\n%s\nEOF\nshift; done\n"
            % json.dumps(result))


def expect(ok, what, text=""):
    if not ok:
        sys.exit("run_test: %s\n%s" % (what, text))


def cells(table, *start):
    """The cells of the table's line that begins with these."""
    for line in table.splitlines():
        found = [c.strip() for c in line.strip().strip("|").split("|")]
        if line.startswith("|") and found[:len(start)] == list(start):
            return found
    expect(False, "no line that begins with %s in" % (start,), table)


def main():
    with tempfile.TemporaryDirectory() as work:
        bin_, build, out = (os.path.join(work, n) for n in ("bin", "build", "out"))
        script(bin_ + "/nvidia-smi", 'echo "NVIDIA H200, 9.0, 580.1, 143771 MiB, 1980 MHz, 700 W"\n')
        script(bin_ + "/cmake", 'echo "$*" >>"%s/cmake"\n[[ "$*" != *help* ]] || echo "test_gpu: phony"\n' % work)
        script(bin_ + "/ctest", '[[ "$*" != *-N* ]] || exit 0\necho "ctest $*"\n[[ "$*" != *matrix* ]]\n')
        python = bin_ + "/python"
        script(python, 'case "$1" in\n  -c) echo 2.0 ;;\n  */table.py) exec "%s" "$@" ;;\n  */moe_torch_gpu.py) exec "%s" "$@" ;;\n'
               '  *) exec "%s" "$@" ;;\nesac\n' % (sys.executable, bin_ + "/moe_peers", bin_ + "/train_peers"))
        script(bin_ + "/moe_peers", give(PEERS))
        script(bin_ + "/train_peers", give(TRAIN_PEERS))
        script(build + "/bench/gpu_bench", give(BENCH))
        script(build + "/bench/gpu_train_bench", give(TRAIN))
        script(build + "/tests/test_gpu", "exit 0\n")
        script(build + "/tests/test_gpu_compositions", "exit 0\n")
        script(build + "/examples/hello_layer_gpu", 'echo "layer: on $2"\necho "loss 5.000 -> 0.500 in 400 steps"\n')
        environment = {**os.environ, "PATH": bin_ + ":" + os.environ["PATH"]}

        def run(*arguments):
            r = subprocess.run([RUN, "--build", build, "--python", python, "--commit", "none", *arguments, out],
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            with open(out + "/table.md") as f:
                return r.returncode, r.stdout, f.read()

        status, text, table = run("--doctest", work)
        # The stand-in for ctest fails the matrix of sizes, and there is no doctest.h: nothing else failed.
        expect(status == 1 and text.rstrip().endswith("FAILED: doctest, matrix of sizes,"), "status %d" % status, text)
        with open(work + "/cmake") as f:
            built = [line.split()[line.split().index("--target") + 1] for line in f if "--target" in line]
        expect(built == ["help", "hello_layer_gpu", "gpu_bench", "gpu_train_bench", "test_gpu", "planted_faults",
                         "test_gpu_compositions"], "built %s" % built, text)
        files = sorted(os.listdir(out))
        expect(files == ["gpu_bench.json", "logs.txt", "peers.json", "table.md", "train.json", "train_peers.json"],
               "the folder holds %s" % files)
        with open(out + "/logs.txt") as f:
            logs = f.read()
        for name in ("build", "hello", "test", "bench", "peers", "train", "matrix", "compositions"):
            expect("==> %s.log <==" % name in logs, "no log of the phase %s" % name, logs)

        expect(cells(table, "hello_layer")[2] == "ok: loss 5.000 -> 0.500 in 400 steps", "what hello_layer says", table)
        expect(cells(table, "build compositions")[2] == "ok" and cells(table, "compositions")[2] == "ok", "compositions", table)
        expect("ctest --test-dir %s -L ^gpu-compositions$" % build in logs, "the compositions' tests", logs)
        expect("layer: on cuda" in logs, "hello_layer's device", logs)
        line = cells(table, "R1", "1.0, uniform", "forward")
        expect(line[5:9] == ["2000.0", "20.00", "2150.0", "yes"], "forward of R1: %s" % line)
        line = cells(table, "R1", "1.0, uniform", "backward")
        expect(line[5:9] == ["4400.0", "44.00", "4350.0", "NO"], "backward of R1: %s" % line)
        line = cells(table, "R1", "1.0, uniform", "forward + backward")
        expect(line[5:9] == ["6400.0", "64.00", "6500.0", "yes"] and line[10:] == ["12800.0", "9300.0", "1.45", "-"],
               "R1: %s" % line)
        line = cells(table, "R1", "padded, uniform", "forward + backward")
        expect(line[10:] == ["12800.0", "9300.0", "1.50", "-"], "a padded row has the peers of capacity 1.0: %s" % line)
        line = cells(table, "V6", "unlimited, uniform", "forward + backward")
        expect(line[7:9] == ["2319.3", "yes"] and line[10:] == ["4600.0", "-", "2.00", "1200.0"],
               "V6, where another layer is in no ratio: %s" % line)
        line = cells(table, "V6", "unlimited, uniform", "forward")
        expect(line[7:9] == ["-", "-"], "V6 has no target for a forward alone: %s" % line)
        expect(cells(table, "R1", "expert choice, forward")[-2:] == ["12.0", "NO"], "a router's target", table)
        expect(cells(table, "R1", "1.0, uniform", "", "20.0")[-2:] == ["40.0", "yes"], "the router's forward", table)
        line = cells(table, "S3", "soft, slots", "forward + backward")
        expect(line[5:9] == ["2347.0", "23.47", "-", "-"] and line[10:] == ["-", "-", "-", "-"],
               "S3 among the layers: %s" % line)
        line = cells(table, "S3", "forward")
        expect(line[3:] == ["100.0", "747.0", "7.47", "498.0", "1.50", "450.0", "1.66"], "S3 beside the design: %s" % line)
        expect("multiply-adds in float 60.0 TFLOP/s" in table and "5.50 TB/s (within L2)" in table, "ceilings", table)
        expect("**NOT FUSED** R1/padded: layer: b; dgelu NOT fused" in table, "a fallback is not loud", table)
        expect("**NOT FUSED** moe: fc1 NOT fused" in table, "a fallback of the trainer is not loud", table)

        # A phase by itself leaves what others left; a GPU that is not there is said.
        status, text, table = run("--no-build", "--phases", "bench", "--quick")
        expect(status == 0 and len(os.listdir(out)) == 6 and "--rows R3,V1" in open(out + "/logs.txt").read(),
               "one phase: status %d, %s" % (status, os.listdir(out)), text)
        # Compositions are not begun where there is no time to build them.
        status, text, table = run("--phases", "compositions", "--limit", "200")
        expect(status == 0 and cells(table, "compositions")[2].startswith("not run: no time left of 200 s"), "no time", text)
        status, text, table = run("--phases", "compositions", "--no-build", "--limit", "200")
        expect(status == 0 and cells(table, "compositions")[2] == "ok", "compositions as they lie there", text)
        script(bin_ + "/nvidia-smi", "echo 'No devices were found'\nexit 6\n")
        status, text, table = run("--no-build")
        expect(status == 77 and "No devices were found" in table, "without a GPU: status %d" % status, text)
    print("run_test: ok")


if __name__ == "__main__":
    main()
