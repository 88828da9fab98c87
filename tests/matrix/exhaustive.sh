#!/usr/bin/env bash
# Compiles and runs random supported compositions, as many of every router, and says how many passed.
#   bash tests/matrix/exhaustive.sh --tool <support_matrix> [--backend cpu|cuda] [--build <folder>] [--number N] [--seed S]
#                                   [--batch B] [--jobs J]
# On cpu (without --backend) against the dense expansion and differences, on cuda by the host executor against the CPU in
# double, in <folder>-cuda.  Without a number 200; --number all is the whole product.  POLYMOE_EXHAUSTIVE_BACKEND, _NUMBER
# and _SEED set all three for the target check_exhaustive.  A line for every batch of B (10) compositions as it is done, a
# table of the routers at the end.  A run that was stopped goes on where it was: batches that passed are not made again
# unless what they are made of has changed.  Exit status 0: every composition compiled and passed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# --run <program> <source> <result>: every composition of a batch in a process of its own.  The result is written only if
# all passed, else <result>.failed; both have a line "<passed|FAILED> <composition>" for each.
if [[ "${1:-}" == --run ]]; then
  program="$2" result="$4" name="$(basename "$3" .cpp)"
  rm -f "$result" "$result".*
  n=0 passed=0
  while IFS= read -r composition; do
    n=$((n + 1))
    if "$program" --source-file='*batch_*' --first="$n" --last="$n" >"$result.log" 2>&1 &&
      grep -q 'assertions: *[1-9]' "$result.log"; then
      passed=$((passed + 1))
      echo "passed $composition" >>"$result.part"
    else
      echo "FAILED $composition" >>"$result.part"
      { echo "== $composition"; cat "$result.log"; } >>"$result.why"
    fi
  done < <(sed -n 's/^TEST_CASE("\([^"]*\)").*/\1/p' "$3")
  rm -f "$result.log"
  if ((passed == n && n > 0)); then mv "$result.part" "$result"; else mv "$result.part" "$result.failed"; fi
  ended="$(find "$(dirname "$result")" -maxdepth 1 -name 'batch_*.result' -o -maxdepth 1 -name 'batch_*.result.failed' | wc -l)"
  echo "exhaustive: $name, $passed of $n passed; $ended of $(find "$(dirname "$3")" -name 'batch_*.cpp' | wc -l) batches done"
  ((passed == n && n > 0))
  exit
fi

tool="" build=build/exhaustive number="${POLYMOE_EXHAUSTIVE_NUMBER:-200}" seed="${POLYMOE_EXHAUSTIVE_SEED:-1}" batch=10
backend="${POLYMOE_EXHAUSTIVE_BACKEND:-cpu}" compiler="${CXX:-g++}" jobs="$(nproc)"
while (($#)); do
  case "$1" in
    --tool) tool="$2" ;;
    --backend) backend="$2" ;;
    --build) build="$2" ;;
    --number) number="$2" ;;
    --seed) seed="$2" ;;
    --batch) batch="$2" ;;
    --compiler) compiler="$2" ;;
    --jobs) jobs="$2" ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
  esac
  shift 2
done
[[ -n "$tool" ]] || { echo "exhaustive: --tool is missing" >&2; exit 2; }
case "$backend" in
  cpu) drawn_for="" ;;
  cuda) build+=-cuda drawn_for=" on cuda" ;;
  *) echo "exhaustive: the backend is '$backend', it must be cpu or cuda" >&2; exit 2 ;;
esac
count="$number"
[[ "$number" == all ]] && count=-1

start=$SECONDS
rm -rf "$build/drawn"
mkdir -p "$build/log" "$build/src" "$build/batches"
"$tool" sample "$count" "$seed" "$build/drawn" "$batch" "$backend" || exit 1
# Sources that are the same stay, so that what is made of them does.
for old in "$build"/src/batch_*.cpp; do
  name="$(basename "$old" .cpp)"
  cmp -s "$old" "$build/drawn/$name.cpp" || rm -f "$old" "$build/batches/$name".result*
done
for new in "$build"/drawn/batch_*.cpp; do
  [[ -e "$build/src/$(basename "$new")" ]] || mv "$new" "$build/src/"
done
rm -rf "$build/drawn"
# Ninja, as in the presets: it goes on behind a batch that does not compile (-k 0).
cmake -G Ninja -S tests/matrix/exhaustive -B "$build/batches" -DCMAKE_CXX_COMPILER="$compiler" \
  -DMATRIX_BACKEND="$backend" -DMATRIX_SOURCES="$(cd "$build/src" && pwd)" >"$build/log/configure.txt" 2>&1 ||
  { cat "$build/log/configure.txt" >&2; exit 1; }
cmake --build "$build/batches" -j "$jobs" -- -k 0 2>&1 | tee "$build/log/build.txt" | grep --line-buffered '^exhaustive: '

# What became of each composition.
all="$build/log/compositions.txt" batches=0
: >"$all"
for source in "$build"/src/batch_*.cpp; do
  name="$(basename "$source" .cpp)" batches=$((batches + 1))
  result="$build/batches/$name.result"
  if [[ -s "$result" && ! "$source" -nt "$result" ]]; then
    cat "$result" >>"$all"
  elif [[ -s "$result.failed" && ! "$source" -nt "$result.failed" ]]; then
    cat "$result.failed" >>"$all"
    echo "exhaustive: $name fails, see $result.why"
  else
    sed -n 's/^TEST_CASE("\([^"]*\)").*/missing \1/p' "$source" >>"$all"
    echo "exhaustive: $name does not compile, or was not reached, see $build/log/build.txt"
  fi
done
grep -v '^passed ' "$all" | head -20
echo "| router | compositions | passed |"
echo "|---|--:|--:|"
sed 's/^\([^ ]*\) \([^,]*\),.*/\2 \1/' "$all" |
  awk '!($1 in n) {order[++k] = $1} {++n[$1]; ok[$1] += $2 == "passed"}
       END {for (i = 1; i <= k; ++i) printf "| `%s` | %d | %d |\n", order[i], n[order[i]], ok[order[i]]}'
total="$(wc -l <"$all")" passed="$(grep -c '^passed ' "$all")"
echo "exhaustive: seed $seed, $passed of $total compositions$drawn_for in $batches batches passed, $((SECONDS - start)) s"
((passed == total && total > 0))
