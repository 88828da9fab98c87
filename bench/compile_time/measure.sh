#!/usr/bin/env bash
# What #include <polymoe/polymoe.hpp> costs: CPU seconds over an empty source file, least of RUNS (default 3), beside the
# budget, which is what is wanted, and a looser limit, beyond which something new is wrong.  It informs and never fails
# because of a time; it does fail when the header does not compile.
#   CXX, NVCC  compilers (g++; nvcc if there is one)
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
runs="${RUNS:-3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# least <command...>: the least CPU seconds (user + system) of the runs.
least() {
  local i best="" now
  TIMEFORMAT='%U %S'
  for ((i = 0; i < runs; ++i)); do
    { time "$@" >"$work/log" 2>&1 || touch "$work/failed"; } 2>"$work/time"
    if [[ -e "$work/failed" ]]; then cat "$work/log" >&2; exit 1; fi
    now="$(awk 'END { print $1 + $2 }' "$work/time")"
    best="$(awk -v a="${best:-$now}" -v b="$now" 'BEGIN { print a < b ? a : b }')"
  done
  echo "$best"
}

# row <name> <header> <budget> <limit> <command prefix...>
row() {
  local name="$1" header="$2" budget="$3" limit="$4" base cost
  shift 4
  base="$(least "$@" "$work/empty.$ext")"
  echo "#include <polymoe/$header>" >"$work/with.$ext"
  cost="$(least "$@" "$work/with.$ext")"
  awk -v n="$name" -v h="$header" -v a="$base" -v b="$cost" -v c="$budget" -v l="$limit" 'BEGIN {
    d = b - a
    printf "%-8s %-14s empty %5.2f  with %5.2f  cost %5.2f CPU-s  budget %4.1f  limit %4.1f  %s\n", n, h, a, b, d, c, l,
           d <= c ? "within" : d <= l ? "over the budget" : "OVER THE LIMIT"
  }'
}

ext=cpp; : >"$work/empty.cpp"
row g++ polymoe.hpp 0.5 1.5 "${CXX:-g++}" -std=c++20 -O0 -c -o "$work/out.o" -I "$root/include"
nvcc="${NVCC:-$(command -v nvcc || true)}"
if [[ -n "$nvcc" ]]; then
  ext=cu; : >"$work/empty.cu"
  flags=(-std=c++20 -gencode=arch=compute_90a,code=sm_90a -c -o "$work/out.o" -I "$root/include")
  row nvcc polymoe.hpp 0.5 4.0 "$nvcc" "${flags[@]}"
  if [[ -e "$root/include/polymoe/cuda.cuh" ]]; then row nvcc cuda.cuh 4.0 6.0 "$nvcc" "${flags[@]}"; fi
else
  echo "nvcc     not found, not measured"
fi
