#!/usr/bin/env bash
# Compiles and runs random supported compositions of the CPU, as many of every router, and says how many passed.
#   bash tests/matrix/exhaustive.sh --tool <support_matrix> [--build <folder>] [--number N] [--seed S] [--batch B]
# Without a number 200; --number all is the whole product.  POLYMOE_EXHAUSTIVE_NUMBER and POLYMOE_EXHAUSTIVE_SEED set both
# for the target check_exhaustive.  Exit status 0: every batch compiled and passed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

tool="" build=build/exhaustive number="${POLYMOE_EXHAUSTIVE_NUMBER:-200}" seed="${POLYMOE_EXHAUSTIVE_SEED:-1}" batch=10
compiler="${CXX:-g++}"
while (($#)); do
  case "$1" in
    --tool) tool="$2" ;;
    --build) build="$2" ;;
    --number) number="$2" ;;
    --seed) seed="$2" ;;
    --batch) batch="$2" ;;
    --compiler) compiler="$2" ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
  esac
  shift 2
done
[[ -n "$tool" ]] || { echo "exhaustive: --tool is missing" >&2; exit 2; }
count="$number"
[[ "$number" == all ]] && count=-1

start=$SECONDS
rm -rf "$build/src" "$build/log"
mkdir -p "$build/log"
"$tool" sample "$count" "$seed" "$build/src" "$batch" || exit 1
# Ninja, as in the presets: it goes on behind a batch that does not compile (-k 0).
cmake -G Ninja -S tests/matrix/exhaustive -B "$build/batches" -DCMAKE_CXX_COMPILER="$compiler" \
  -DMATRIX_SOURCES="$(cd "$build/src" && pwd)" >"$build/log/configure.txt" 2>&1 ||
  { cat "$build/log/configure.txt" >&2; exit 1; }
cmake --build "$build/batches" -j "$(nproc)" -- -k 0 >"$build/log/build.txt" 2>&1

total=0 passed=0 batches=0
for source in "$build"/src/batch_*.cpp; do
  name="$(basename "$source" .cpp)"
  size="$(grep -c '^  X(' "$source")"
  batches=$((batches + 1)) total=$((total + size))
  if [[ ! -x "$build/batches/$name" || "$source" -nt "$build/batches/$name" ]]; then
    echo "exhaustive: $name does not compile, see $build/log/build.txt"
  elif "$build/batches/$name" --source-file='*batch_*' >"$build/log/$name.txt" 2>&1; then
    passed=$((passed + size))
  else
    echo "exhaustive: $name fails:"
    grep -E 'ERROR|facts.name' "$build/log/$name.txt" | sort | uniq -c | head -20
  fi
done
echo "exhaustive: seed $seed, $passed of $total compositions in $batches batches passed, $((SECONDS - start)) s"
((passed == total))
