#!/usr/bin/env bash
# Builds, tests and measures on a machine that has a GPU, nvcc and Python, and nothing else: no network either.
#
#   benchmarks/gpu.sh pack DIR [--python 3.12]
#       where there is a network, after `make install`: packages for that Python, and the llama.cpp source
#   benchmarks/gpu.sh run DIR OUT [SHAPE ...]
#       on that machine: log, tests.txt, gpu.json and gpu.md in OUT, in less than 10 minutes on 16 cores.
#       SHAPE is one of random_model.py, the large one first; 8b 1b unless told otherwise.
#
# GPU_SH_BACKEND=cpu   without a GPU: whether it works (with the shape "tiny"), not how fast it is
# GPU_SH_LIMIT_S=590   what has no time left by then is left out
# GPU_SH_WORK          where things are built, and found again by the next run; /tmp/hoshikage-gpu
# PYTHON               3.10 or newer; pack: .venv/bin/python, run: python3
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Of tests/core: those that need no other model than the tiny ones, nor packages that are not packed.
TESTS=(engine sampling logprobs checkpoints prefixes sharing bed sleep cells lora embedding prefill_pieces)
TESTS_LIMIT_S=90

usage() {
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

say() {
    printf '\n== %s (%d s)\n' "$1" "$SECONDS"
}

pack() {
    exec "${PYTHON:-$root/.venv/bin/python}" "$root/benchmarks/gpu_pack.py" pack "$@"
}

write_models() {
    local shape
    for shape in "${shapes[@]}"; do
        [[ -e $work/$shape.gguf ]] || "$python" "$root/benchmarks/random_model.py" "$shape" "$work/$shape.gguf"
    done
}

require_gpu() {
    "$python" -c 'from hoshikage_core import build_info; print(*build_info().gpus or exit("error: the build sees no GPU"))'
}

run_tests() {
    local files=("${TESTS[@]/#/tests/core/test_}")
    # Which pieces a prompt is cut into differs on a GPU, and that test is about the CPU's.
    timeout "$TESTS_LIMIT_S" "$python" -m pytest -q -p no:cacheprovider -k "not hold_up" "${files[@]/%/.py}" >"$out/tests.txt" 2>&1 ||
        echo "native tests: status $?"
    tail -n 15 "$out/tests.txt"
}

run() {
    (($# >= 2)) || usage
    local pack_folder
    pack_folder=$(cd "$1" && pwd)
    mkdir -p "$2"
    out=$(cd "$2" && pwd)
    shift 2
    shapes=("$@")
    (($#)) || shapes=(8b 1b)
    exec > >(tee "$out/log") 2>&1
    cd "$root"
    work=${GPU_SH_WORK:-/tmp/hoshikage-gpu}
    mkdir -p "$work"
    python=$(command -v "${PYTHON:-python3}")
    export HOSHIKAGE_BACKEND=${GPU_SH_BACKEND:-cuda} HOSHIKAGE_CACHE_DIR=$work/cache PYTHONUNBUFFERED=1
    export PATH=$work/site/bin:$PATH PYTHONPATH=$work/site:$root

    say "packages and source"
    "$python" benchmarks/gpu_pack.py unpack "$pack_folder" "$work/site"
    write_models &
    local writing=$!
    say "building the module"
    "$python" setup.py --quiet build_ext --inplace
    say "building llama-bench and llama-server"
    (cd benchmarks && "$python" -c 'import oracle; oracle.build()')
    if [[ $HOSHIKAGE_BACKEND != cpu ]]; then
        nvidia-smi || true
        require_gpu
    fi
    wait "$writing"
    say "native tests"
    run_tests
    say "measuring"
    local models=("${shapes[@]/#/$work/}") options=()
    [[ $HOSHIKAGE_BACKEND != cpu ]] || options=(--no-gpu --quick)
    "$python" benchmarks/gpu_suite.py "$out" --models "${models[@]/%/.gguf}" \
        --limit "$((${GPU_SH_LIMIT_S:-590} - SECONDS))" "${options[@]}"
}

case ${1:-} in
pack | run) "$@" ;;
*) usage ;;
esac
