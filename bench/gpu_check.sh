#!/usr/bin/env bash
# What to run first on a machine with an NVIDIA GPU: most important first, each stage with its own time limit and its result
# written as soon as it is there. Needs torch, triton and nvcc, and no network; what is absent is skipped, and said.
#
#   bench/gpu_check.sh [--dry-run] [--stage NAME]...
#
# Verdicts and logs go to $OUT, else build/gpu_check; rows of benchmarks to $OUT, else bench/results/<device>.
# --dry-run runs every stage on the CPU with tiny shapes in float32, so that a machine without a GPU can test this script.
set -uo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
ROWS=${OUT:-}
OUT=${OUT:-build/gpu_check}
DRY_RUN=0
PATIENCE=1
STAGES=()
while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) DRY_RUN=1 ;;
        --stage) STAGES+=("${2:?--stage needs a name}"); shift ;;
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "error: unknown argument $1; see --help" >&2; exit 2 ;;
    esac
    shift
done
mkdir -p "$OUT"
PATH=$(dirname "$(command -v "$PYTHON")"):$PATH # cmake and ninja of the same environment
export VADFAST_BENCH_DEVICE=cuda
if [ "$DRY_RUN" = 1 ]; then
    export VADFAST_BENCH_DEVICE=cpu VADFAST_BENCH_TINY=1 TRITON_INTERPRET=1
    PATIENCE=4 # two busy cores and an interpreter
    ROWS=$OUT
elif ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "error: torch finds no GPU here; use --dry-run to test the stages without one" >&2
    exit 2
fi

KNOWN=(machine native tests sanitizer graph tensorrt operators training engines inductor sweep steps)
for name in ${STAGES[@]+"${STAGES[@]}"}; do
    if ! printf '%s\n' "${KNOWN[@]}" | grep -qx -- "$name"; then
        echo "error: --stage must be one of ${KNOWN[*]}, got $name" >&2
        exit 2
    fi
done
rows=()
[ -n "$ROWS" ] && rows=(--out "$ROWS")

failed=0
# stage NAME LIMIT_S COMMAND...: runs COMMAND, keeps its output and its verdict, and goes on whatever happens.
stage() {
    local name=$1 limit=$(($2 * PATIENCE)) start verdict
    shift 2
    if [ ${#STAGES[@]} -gt 0 ] && ! printf '%s\n' "${STAGES[@]}" | grep -qx "$name"; then
        return
    fi
    start=$SECONDS
    echo "== $name (at most $limit s): $*"
    if timeout "$limit" "$@" >"$OUT/$name.log" 2>&1; then
        verdict=passed
    else
        case $? in
            124) verdict="FAILED: stopped after $limit s" ;;
            *) verdict=FAILED ;;
        esac
        failed=1
        tail -n 15 "$OUT/$name.log"
    fi
    printf '%s\t%s\t%d s\n' "$name" "$verdict" $((SECONDS - start)) | tee -a "$OUT/verdicts.tsv"
}

# skip NAME WHY: a stage that cannot be here, said where its verdict would be.
skip() {
    if [ ${#STAGES[@]} -eq 0 ] || printf '%s\n' "${STAGES[@]}" | grep -qx "$1"; then
        printf '%s\tskipped: %s\t0 s\n' "$1" "$2" | tee -a "$OUT/verdicts.tsv"
    fi
}

# lacks MODULE...: prints the first of the Python modules that is not installed.
lacks() {
    local module
    for module in "$@"; do
        if ! "$PYTHON" -c "import $module" 2>/dev/null; then
            echo "$module"
            return
        fi
    done
}

: >"$OUT/verdicts.tsv"
quick=()
fp32=()
one_method=()
[ "$DRY_RUN" = 1 ] && quick=(--quick) && fp32=(-k "not bf16 and not float16") && one_method=(-k apn)
stage machine 20 "$PYTHON" -m bench machine
missing=$(lacks setuptools pybind11)
if [ -n "$missing" ] || ! command -v cmake >/dev/null || ! command -v ninja >/dev/null; then
    skip native "it is built with cmake, ninja, setuptools and pybind11, and not all of them are installed"
else
    # For this GPU alone: the seven architectures of a package would take a minute more. A dry run builds what an installation does.
    [ "$DRY_RUN" = 1 ] || export CUDAARCHS=native VADFAST_CUDA=ON
    stage native 90 bash -c '"$0" setup.py -q build_ext --inplace && "$0" -m pytest -q -p no:cacheprovider -m gpu tests/native' "$PYTHON"
fi
# The engines of tests/gpu are stages of their own: compiling takes longer than all kernels do.
stage tests 120 "$PYTHON" -m pytest -q -p no:cacheprovider tests/gpu "${fp32[@]}" --ignore-glob 'tests/gpu/test_cuda_*'
if [ "$DRY_RUN" = 1 ]; then
    skip sanitizer "it checks a GPU's memory"
elif command -v compute-sanitizer >/dev/null; then
    # Memory that is not theirs, threads that do not wait for each other's shared memory, memory that nobody wrote.
    stage sanitizer 100 bash -c 'for tool in memcheck racecheck initcheck; do
        echo "$tool:"
        compute-sanitizer --tool "$tool" --error-exitcode 1 "$0" -m pytest -q -p no:cacheprovider -m gpu tests/gpu tests/native -k "$1" || exit 1
    done' "$PYTHON" "sanitizer or more_cameras or windows_on_cuda"
else
    skip sanitizer "compute-sanitizer is not installed"
fi
missing=$(lacks pydantic tomli_w cv2 av)
if [ "$DRY_RUN" = 1 ]; then
    for name in graph tensorrt; do skip $name "it needs a GPU"; done
elif [ -n "$missing" ]; then
    for name in graph tensorrt; do skip $name "$missing is not installed"; done
else
    stage graph 60 "$PYTHON" -m pytest -q -p no:cacheprovider tests/gpu/test_cuda_engine.py
    # Where TensorRT cannot run all of its tests would be skipped, which pytest calls a success.
    why=$(lacks onnx onnxruntime)
    why=${why:+$why is not installed}
    why=${why:-$("$PYTHON" -c 'from vadfast.runtime.engines.tensorrt import missing; print(missing() or "")' 2>&1 | tail -n 1)}
    if [ -n "$why" ]; then
        skip tensorrt "$why"
    else
        stage tensorrt 240 "$PYTHON" -m pytest -q -rs -p no:cacheprovider -m gpu tests/tensorrt
    fi
fi
stage operators 140 "$PYTHON" -m bench run operators "${quick[@]}" "${fp32[@]}" "${rows[@]}"
if [ -z "$missing" ]; then
    stage training 80 "$PYTHON" -m bench run training training_memory "${quick[@]}" "${rows[@]}"
    stage engines 300 "$PYTHON" -m bench run gpu_engines -k adl "${quick[@]}" "${rows[@]}"
else
    skip training "$missing is not installed"
    skip engines "$missing is not installed"
fi
if [ "$DRY_RUN" = 1 ]; then
    skip inductor "it needs a GPU"
elif [ -n "$missing" ]; then
    skip inductor "$missing is not installed"
else
    # It times every product in many forms, and so comes after what is faster said.
    stage inductor 240 "$PYTHON" -m pytest -q -p no:cacheprovider tests/gpu/test_cuda_inductor.py
fi
stage sweep 90 "$PYTHON" -m bench run sweep --quick "${fp32[@]}" "${rows[@]}"
if [ -z "$missing" ]; then
    # Last, as torch.compile takes minutes for four networks.
    stage steps 300 "$PYTHON" -m bench run training_steps "${quick[@]}" "${one_method[@]}" "${rows[@]}"
else
    skip steps "$missing is not installed"
fi
echo "results: $OUT, rows: ${ROWS:-bench/results/<device>}"
exit $failed
