#!/usr/bin/env bash
# Finished frames a second of a network by each plan, in turns, on the CPU or on an NVIDIA GPU.
#
#   tools/measure_plans.sh FOLDER [cpu|cuda]
#
# FOLDER holds generator.onnx and audio_encoder.onnx (tools/make_full_size_network.py makes them). The demo's `sanders`
# lends its pictures: MODELS names the folder where `lipsync demo` has written them (default: written anew). Set LIPSYNC
# to the program (default: target/release/lipsync), ROUNDS (3), SECONDS_EACH (8), BATCHES (cpu: 25; cuda: 1,4,8,16,25)
# and FORMATS ("png"; cuda: "png jpeg"). One line a measurement:
#   round plan kept format batch, what one caller got, what several got, MB at most
# and before each round the load of the machine, or what `nvidia-smi` says. A figure beside a busy machine is none.
set -euo pipefail
folder=$(realpath "${1:?FOLDER}")
device=${2:-cpu}
lipsync=$(realpath "${LIPSYNC:-target/release/lipsync}")
rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-8}
if [ "$device" = cuda ]; then
    batches=${BATCHES:-1,4,8,16,25} formats=${FORMATS:-png jpeg} plans="plain split grouped" caches=0
    onnx="execution_providers: [cuda, cpu]"
    nvidia-smi -L
else
    batches=${BATCHES:-25} formats=${FORMATS:-png} plans="plain split grouped" caches="0 8192"
    onnx="execution_providers: [cpu]"
fi
work=$(mktemp -d)
[ -z "${MODELS:-}" ] || MODELS=$(realpath "$MODELS")
trap 'rm -rf "$work"' EXIT
cd "$work"
models=${MODELS:-$work/models}
[ -d "$models/sanders" ] || "$lipsync" -q demo --folder "$models" --render "$work/film.mp4"
for plan in $plans; do
    for cache in $caches; do
        for batch in ${batches//,/ }; do
            cat >"$plan-$cache-$batch.yaml" <<CONFIG
capacity:
  max_memory_gb: 32
onnx:
  $onnx
  plan: $plan
  visual_cache_mb: $cache
$([ "$device" = cuda ] && echo "  max_batch: $batch")
models:
  sanders:
    model_path: $folder/generator.onnx
    audio_encoder_path: $folder/audio_encoder.onnx
    background_dir: $models/sanders/frames
    crop_rects_path: $models/sanders/crop_rects.json
CONFIG
        done
    done
done
for round in $(seq "$rounds"); do
    echo "# load $(cut -d' ' -f1 /proc/loadavg)$([ "$device" = cuda ] && nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv,noheader)"
    for plan in $plans; do
        for cache in $caches; do
            for format in $formats; do
                for batch in ${batches//,/ }; do
                    /usr/bin/env python3 - "$lipsync" "$plan-$cache-$batch.yaml" "$batch" "$seconds" "$format" \
                        "$round $plan $([ "$cache" = 0 ] && echo whole || echo kept) $format $batch" <<'PYTHON'
import json, resource, subprocess, sys

program, config, batch, seconds, frame_format, name = sys.argv[1:]
command = [program, "-q", "--config", config, "--json", "bench", "--batch", batch, "--seconds", seconds]
done = subprocess.run([*command, "--format", frame_format], capture_output=True, text=True)
if done.returncode:
    sys.exit(f"{name}: {done.stderr.strip()}")
(row,) = json.loads(done.stdout)["rows"]
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
alone, together = row["alone"], row["together"]
print(name, *(json.dumps(speed) for speed in (alone, together)), f"{peak:.0f} MB at most")
PYTHON
                done
            done
        done
    done
done
