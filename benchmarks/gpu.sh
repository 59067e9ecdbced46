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
# GPU_SH_LIMIT_S=575   what has no time left by then is left out
# GPU_SH_ONLY          scripts such as "ttft copying": these alone, and no tests; after a run that had no time for them
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
    # Which pieces a prompt is cut into differs on a GPU, and that test is about the CPU's. What else is installed there may
    # have plugins for another pytest.
    PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 timeout -k 10 "$TESTS_LIMIT_S" \
        "$python" -m pytest -q -p no:cacheprovider -k "not hold_up" "${files[@]/%/.py}" >"$out/tests.txt" 2>&1 ||
        echo "native tests: status $?"
}

run_all() {
    say "packages and source"
    "$python" benchmarks/gpu_pack.py unpack "$pack_folder" "$work/site"
    write_models &
    local writing=$!
    say "building the module"
    "$python" setup.py --quiet build_ext --inplace
    local options=() testing=
    if [[ $HOSHIKAGE_BACKEND == cpu ]]; then
        options=(--no-gpu --quick)
    else
        nvidia-smi || true
        require_gpu
    fi
    if [[ -z ${GPU_SH_ONLY:-} ]]; then
        run_tests &
        testing=$!
    fi
    say "building llama-bench and llama-server, and testing meanwhile"
    (cd benchmarks && "$python" -c 'import oracle; oracle.build()') || options+=(--no-peers)
    wait "$writing"
    if [[ -n $testing ]]; then
        wait "$testing"
        tail -n 15 "$out/tests.txt"
    fi
    say "measuring"
    local models=("${shapes[@]/#/$work/}")
    # shellcheck disable=SC2086 # words
    "$python" benchmarks/gpu_suite.py "$out" --models "${models[@]/%/.gguf}" \
        --limit "$((${GPU_SH_LIMIT_S:-575} - SECONDS))" "${options[@]}" ${GPU_SH_ONLY:+--only $GPU_SH_ONLY}
}

run() {
    (($# >= 2)) || usage
    pack_folder=$(cd "$1" && pwd)
    mkdir -p "$2"
    out=$(cd "$2" && pwd)
    shift 2
    shapes=("$@")
    (($#)) || shapes=(8b 1b)
    cd "$root"
    work=${GPU_SH_WORK:-/tmp/hoshikage-gpu}
    mkdir -p "$work"
    python=$(command -v "${PYTHON:-python3}")
    export HOSHIKAGE_BACKEND=${GPU_SH_BACKEND:-cuda} HOSHIKAGE_CACHE_DIR=$work/cache PYTHONUNBUFFERED=1
    export PATH=$work/site/bin:$PATH PYTHONPATH=$work/site:$root
    # By its cores alone: the memory of a virtual machine may grow only as it is used.
    export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
    run_all 2>&1 | tee "$out/log"
}

case ${1:-} in
pack | run) "$@" ;;
*) usage ;;
esac
