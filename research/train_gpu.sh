#!/usr/bin/env bash
# Train configs/gpu.toml on a machine with one CUDA GPU that has only a copy of this repository.
#
#   research/train_gpu.sh MINUTES [STOP_AFTER]
#
# MINUTES      length of the whole run, which its learning-rate schedule follows; 0: only unpack
# STOP_AFTER   minutes after which this call saves and ends (default 9); the next call continues
#
# Packs of research/pack_training_data.py in gpu_packs/ are first unpacked into gpu_data/, so they
# can be delivered over several calls. With OUT set, the weights, the log and the run's state (in pieces
# below 16 MiB) are copied there; such pieces in gpu_packs/ continue the run on another machine.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:?how many minutes is the run? usage: research/train_gpu.sh MINUTES [STOP_AFTER]}
stop_after=${2:-9}
python=${PYTHON:-python3}
run=runs/gpu
export PYTHONPATH=src PYTHONUNBUFFERED=1

"$python" research/pack_training_data.py unpack configs/gpu.toml gpu_packs gpu_data
[ "$minutes" != 0 ] || exit 0

mkdir -p "$run"
if [ ! -e "$run/state.pt" ] && compgen -G 'gpu_packs/state.pt.*' >/dev/null; then
  cat gpu_packs/state.pt.* >"$run/state.pt"
fi
# gpu_data/ is beside configs/, so the relative folders in the file stay valid.
sed "s/^minutes = .*/minutes = $minutes/" configs/gpu.toml >gpu_data/gpu.toml
code=0
timeout --signal=INT --kill-after=60 "$(awk "BEGIN { print $stop_after * 60 }")" "$python" -c '
from pathlib import Path
from refsr.train.config import load_config
from refsr.train.loop import train
train(load_config(Path("gpu_data/gpu.toml")), resume=True)
' || code=$?
if [ -n "${OUT:-}" ]; then
  for file in best.safetensors log.jsonl samples.png; do
    [ ! -e "$run/$file" ] || cp "$run/$file" "$OUT/"
  done
  [ ! -e "$run/state.pt" ] || split -b 15M -d -a 2 "$run/state.pt" "$OUT/state.pt."
fi
# 124: stopped by the time limit of this call
[ "$code" = 0 ] || [ "$code" = 124 ] || exit "$code"
