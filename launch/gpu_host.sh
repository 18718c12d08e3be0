#!/usr/bin/env bash
# Trains on all GPUs of this host.
#
#   launch/gpu_host.sh --gin_file=gin/imagenet_resnet50.gin \
#     --model_dir=runs/imagenet -- --gin_param='DATA_DIR="/data/imagenet"'
#   launch/gpu_host.sh --engine=horovod --gin_file=F --model_dir=D --print
#
# What stands after -- goes to trainer.main as it is.
#
#   --gin_file=FILE      Recipe. Required.
#   --model_dir=DIR      Directory of the run. Required.
#   --engine=NAME        mirrored (default): one process drives all GPUs;
#                        horovod or multi_worker: one process for each GPU.
#   --gpus=N             How many GPUs to use: the first of CUDA_VISIBLE_DEVICES
#                        if it is set. Default: all.
#   --max_restarts=N     How often to start all processes again after a failure;
#                        not for mirrored. Default: 0.
#   --min_free_gb=N      Least free space for --model_dir, in GiB. Default: 10.
#   --python=PATH        Default: python3 on PATH.
#   --print              Show the command, check and run nothing.
#
# Checked before anything runs: the driver's GPUs, TensorFlow's GPUs, shared
# memory and disk space. Exit codes: 2 for what these checks find, otherwise the
# training's (docs/launch.md).
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flag=([gin_file]='' [model_dir]='' [engine]=mirrored [gpus]='' [max_restarts]=0
  [min_free_gb]=10 [python]='' [print]=no)
SWITCHES='print'

# Prints how many GPUs there are to use.
count_gpus() {
  local listed
  check_tool nvidia-smi "It comes with NVIDIA's driver: install the driver, or \
train on the CPU with python -m trainer.main."
  listed=$(nvidia-smi --query-gpu=index --format=csv,noheader) ||
    fail "nvidia-smi failed: $listed. See whether the driver is loaded."
  [[ -z $chosen ]] || listed=${chosen//,/$'\n'}
  grep -c . <<<"$listed" || fail "nvidia-smi lists no GPU. See whether the" \
    "driver is loaded."
}

# TensorFlow without its CUDA libraries trains on the CPU and says little.
check_tensorflow() {
  local seen
  seen=$("$python" -c 'import tensorflow as tf
print(len(tf.config.list_physical_devices("GPU")))' 2>/dev/null | tail -n 1) ||
    fail "$python cannot import TensorFlow. Activate the environment that" \
      "Lockstep is installed in, or write --python=PATH."
  ((seen >= gpus)) || fail "nvidia-smi has GPUs for --gpus=$gpus, TensorFlow" \
    "sees $seen. Install its CUDA libraries: pip install 'lockstep[gpu]'."
}

check_space() {
  local place=${flag[model_dir]} free
  [[ $place != *://* ]] || return 0
  until [[ -d $place ]]; do place=$(dirname "$place"); done
  free=$(df --output=avail -k "$place" | tail -n 1)
  ((free >= flag[min_free_gb] * 1024 * 1024)) ||
    fail "--model_dir=${flag[model_dir]} has $((free / 1024 / 1024)) GiB" \
      "free, less than --min_free_gb=${flag[min_free_gb]}. Make room or name" \
      "another folder."
}

# NCCL's buffers between the GPUs of a host are there.
check_shared_memory() {
  local free
  free=$(df --output=avail -k /dev/shm | tail -n 1)
  ((free >= 512 * 1024)) || fail "/dev/shm has $((free / 1024)) MiB free; the" \
    "GPUs exchange gradients there, which needs 512. In a container, start" \
    "it with --shm-size=8g."
}

parse_flags "$@"
check_training runs/imagenet
check_choice engine mirrored horovod multi_worker
[[ -z ${flag[gpus]} ]] || check_number gpus 1 8
check_number max_restarts 0 3
check_number min_free_gb 0 10
[[ ${flag[engine]} != mirrored || ${flag[max_restarts]} == 0 ]] ||
  fail "--max_restarts=${flag[max_restarts]} needs several processes. Write" \
    "--engine=multi_worker or leave it out."
# What the user has left visible; nothing for all.
chosen=${CUDA_VISIBLE_DEVICES:-}
if [[ -n $chosen && -n ${flag[gpus]} ]]; then
  found=$(grep -c . <<<"${chosen//,/$'\n'}")
  ((flag[gpus] <= found)) || fail "--gpus=${flag[gpus]} is more than the" \
    "$found in CUDA_VISIBLE_DEVICES=$chosen. Write --gpus=$found or less."
fi
python=$(find_python)
gpus=${flag[gpus]}
if [[ ${flag[print]} == no ]]; then
  found=$(count_gpus)
  gpus=${gpus:-$found}
  ((gpus <= found)) ||
    fail "--gpus=$gpus is more than this host has. Write --gpus=$found or less."
  check_shared_memory
  check_space
  check_tensorflow
fi

training_command "$python" trainer.main "${flag[engine]}"
command=("${training[@]}")
if [[ ${flag[engine]} != mirrored ]]; then
  command=("$python" -m launch.local "--workers=${gpus:-GPUS}"
    "--engine=${flag[engine]}" "--max_restarts=${flag[max_restarts]}" --
    "${training[@]}")
fi
environment=("PYTHONPATH=$REPO${PYTHONPATH:+:$PYTHONPATH}")
if [[ -n ${flag[gpus]} ]]; then
  names=${chosen:-$(seq -s, 0 $((gpus - 1)))}
  environment+=("CUDA_VISIBLE_DEVICES=$(cut -d, -f"1-$gpus" <<<"$names")")
fi
run_or_print exec env "${environment[@]}" "${command[@]}"
