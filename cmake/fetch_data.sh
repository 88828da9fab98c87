#!/usr/bin/env bash
# Fetches a public data set, checks it, and unpacks it.  Nothing is fetched by a build or a test; this is yours to run.
#
#   cmake/fetch_data.sh cifar-10  [FOLDER]    CIFAR-10, binary version, 162 MB
#   cmake/fetch_data.sh cifar-100 [FOLDER]    CIFAR-100, binary version, 161 MB
#
# FOLDER is "data" without it.  POLYMOE_DATA_SOURCE replaces the authors' address, by another one or by a folder that has
# the archive.  Fashion-MNIST is the Debian package dataset-fashion-mnist.
#
# Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009): cite it when you use these images.
set -euo pipefail

fail() {
  echo "fetch_data: $*" >&2
  exit 1
}
[[ $# -ge 1 && $# -le 2 ]] || fail "usage: cmake/fetch_data.sh cifar-10|cifar-100 [FOLDER]"
folder="${2:-data}"
source="${POLYMOE_DATA_SOURCE:-https://www.cs.toronto.edu/~kriz}"
# The sums of the archives are those that the authors publish.
case "$1" in
  cifar-10)
    archive=cifar-10-binary.tar.gz md5=c32a1d4ab5d03f1284b67883e8d87530 inside=cifar-10-batches-bin
    files=(data_batch_{1,2,3,4,5}.bin test_batch.bin)
    ;;
  cifar-100)
    archive=cifar-100-binary.tar.gz md5=03b5dce01913d631647c71ecec9e9cb8 inside=cifar-100-binary
    files=(train.bin test.bin)
    ;;
  *) fail "there is no data set '$1'; known: cifar-10, cifar-100" ;;
esac

complete() {
  local f
  for f in "${files[@]}"; do [[ -s "$folder/$inside/$f" ]] || return 1; done
}
if complete; then
  echo "fetch_data: $folder/$inside is there already"
  exit 0
fi
mkdir -p "$folder" || fail "cannot make the folder $folder"
part="$folder/$archive.part"
echo "fetch_data: $source/$archive"
if [[ "$source" == /* ]]; then
  cp "$source/$archive" "$part" || fail "cannot copy $source/$archive"
elif command -v curl >/dev/null; then
  # An interrupted download goes on where it stopped.
  curl --fail --location --continue-at - --output "$part" "$source/$archive" || fail "the download failed; run it again to go on"
elif command -v wget >/dev/null; then
  wget --continue --output-document="$part" "$source/$archive" || fail "the download failed; run it again to go on"
else
  fail "neither curl nor wget is there; fetch $source/$archive yourself and set POLYMOE_DATA_SOURCE to its folder"
fi
found="$(md5sum "$part" | cut -d' ' -f1)"
if [[ "$found" != "$md5" ]]; then
  rm -f "$part"
  fail "$archive has the sum $found, the authors publish $md5; it was deleted"
fi
# Into a folder of its own first: an interrupted run leaves no half data set.
rm -rf "$folder/.unpacking"
mkdir "$folder/.unpacking"
tar -xzf "$part" -C "$folder/.unpacking" "${files[@]/#/$inside/}"
mkdir -p "$folder/$inside"
mv "$folder/.unpacking/$inside"/*.bin "$folder/$inside/"
rm -rf "$folder/.unpacking" "$part"
complete || fail "$archive did not contain ${files[*]}"
echo "fetch_data: ${#files[@]} files in $folder/$inside"
