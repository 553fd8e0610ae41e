#!/usr/bin/env bash
# The tests where nothing is as usual: started in the background, where Ctrl-C is ignored; an old processor; another
# locale, time zone, terminal and umask; two processes that burn the cores; in random order, with new examples for
# hypothesis. Twice, with two seeds, which it prints. Arguments are pytest's; SEEDS='1 2' and NICE=10 change the rest.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin

burners=()
stop_burning() { kill "${burners[@]}" 2>/dev/null || true; }
trap stop_burning EXIT
for _ in 1 2; do
	"$bin/python" -c 'while True: pass' &
	burners+=($!)
done

# Libraries that choose by what the processor has are told that it has little. ONNX Runtime asks the processor itself.
unset OPENBLAS_CORETYPE NPY_DISABLE_CPU_FEATURES
NPY_DISABLE_CPU_FEATURES=$("$bin/python" -c 'from numpy._core._multiarray_umath import __cpu_dispatch__ as can, __cpu_features__ as has
print(*(name for name in can if has[name]))')
export NPY_DISABLE_CPU_FEATURES
export OPENBLAS_CORETYPE=Nehalem ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 MKL_DEBUG_CPU_TYPE=5
export NEW_EXAMPLES=1 LC_ALL=C TERM=dumb TZ=Asia/Kathmandu COLUMNS=40 GITHUB_ACTIONS=true RAY_ADDRESS=nowhere:1
unset LANG LANGUAGE
umask 077
trap '' INT

before=$(git status --porcelain)
for seed in ${SEEDS:-1 $RANDOM}; do
	echo "hostile: SEEDS=$seed"
	nice -n "${NICE:-5}" "$bin/pytest" -p randomly -p no:cacheprovider --randomly-seed="$seed" "$@"
done
if [ "$(git status --porcelain)" != "$before" ]; then
	echo 'hostile: the tests left files in the tree:' >&2
	git status --porcelain >&2
	exit 1
fi
