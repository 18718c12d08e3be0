#!/usr/bin/env bash
# Trains on a Cloud TPU VM, or a pod slice of several, with gcloud.
#
#   launch/tpu_vm.sh create --name=tpu1 --zone=us-west4-a --type=v5litepod-8 \
#     --version=v2-alpha-tpuv5-lite --spot
#   launch/tpu_vm.sh copy   --name=tpu1 --zone=us-west4-a
#   launch/tpu_vm.sh setup  --name=tpu1 --zone=us-west4-a
#   launch/tpu_vm.sh run    --name=tpu1 --zone=us-west4-a \
#     --gin_file=gin/imagenet_resnet50.gin --model_dir=gs://bucket/runs/first \
#     -- --gin_param='DATA_DIR="gs://bucket/imagenet"'
#   launch/tpu_vm.sh logs   --name=tpu1 --zone=us-west4-a --follow
#   launch/tpu_vm.sh status --name=tpu1 --zone=us-west4-a
#   launch/tpu_vm.sh stop   --name=tpu1 --zone=us-west4-a
#   launch/tpu_vm.sh delete --name=tpu1 --zone=us-west4-a
#
# This script has not been run on a real TPU VM. Its commands were checked
# against gcloud's own definition of its flags, and what they make a worker do
# was run in a shell.
#
# Actions:
#   create   Make the TPU VM; with --queued, ask for it and return.
#   copy     Copy this repository to ~/lockstep of all workers.
#   setup    Install Lockstep there, on TensorFlow for TPUs.
#   run      Start the training on worker 0, in the background. It goes on when
#            this connection ends, and starts again after exit code 75.
#   logs     Show its log.
#   status   Show the state of the VM, and whether it trains.
#   stop     Make the training save a checkpoint and end.
#   delete   Delete the VM; asks first.
#
# Flags:
#   --name=NAME         Of the TPU VM. Required.
#   --zone=ZONE         Required.
#   --project=ID        Default: gcloud's.
#   --type=TYPE         create: the accelerator type. Required there.
#   --version=VERSION   create: runtime version. Default: tpu-ubuntu2204-base.
#   --spot              create: cheaper, may be preempted at any time.
#   --queued            create: as a queued resource of the same name; delete:
#                       the queued resource with its VM.
#   --gin_file=FILE     run: recipe, in the repository. Required there.
#   --model_dir=DIR     run: gs://, to outlive the VM. Required there.
#   --pod               run: the slice has several workers. They are driven from
#                       worker 0, through the TensorFlow servers that runtime
#                       versions ending in -pod or -pod-pjrt start on all.
#   --max_restarts=N    run: how often to go on after code 75. Default: 100.
#   --lines=N           logs: how many. Default: 50.
#   --follow            logs: go on as they come.
#   --print             Show the gcloud commands, run nothing.
#
# What stands after -- goes to trainer.main as it is.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flag=([name]='' [zone]='' [project]='' [type]=''
  [version]=tpu-ubuntu2204-base [spot]=no [queued]=no [gin_file]=''
  [model_dir]='' [pod]=no [max_restarts]=100 [lines]=50 [follow]=no [print]=no)
SWITCHES='spot queued pod follow print'
ACTIONS='create copy setup run logs status stop delete'
ARCHIVE=build/lockstep.tar.gz
TPU=(gcloud compute tpus tpu-vm)
QUEUED=(gcloud compute tpus queued-resources)
# Shell code for a worker: whether the training runs there.
RUNS="grep -qs restart.sh \"/proc/\$(cat train.pid 2>/dev/null)/cmdline\""

# on WORKER CODE: runs shell code on a worker, or on all, in ~/lockstep.
on() {
  run_or_print "${TPU[@]}" ssh "${flag[name]}" "${where[@]}" "--worker=$1" \
    "--command=$2"
}

create() {
  require type v5litepod-8
  local spot=()
  [[ ${flag[spot]} == no ]] || spot=(--spot)
  if [[ ${flag[queued]} == yes ]]; then
    run_or_print "${QUEUED[@]}" create "${flag[name]}" "${where[@]}" \
      "--node-id=${flag[name]}" "--accelerator-type=${flag[type]}" \
      "--runtime-version=${flag[version]}" "${spot[@]}"
  else
    run_or_print "${TPU[@]}" create "${flag[name]}" "${where[@]}" \
      "--accelerator-type=${flag[type]}" "--version=${flag[version]}" \
      "${spot[@]}"
  fi
}

copy() {
  run_or_print mkdir -p "$REPO/build"
  run_or_print tar --create --gzip --file="$REPO/$ARCHIVE" --directory="$REPO" \
    --exclude=./.* --exclude=__pycache__ --exclude=./build --exclude=./data \
    --exclude=./runs .
  run_or_print "${TPU[@]}" scp "$REPO/$ARCHIVE" "${flag[name]}:" \
    "${where[@]}" --worker=all
  on all "mkdir -p lockstep && tar --extract --gzip --file=${ARCHIVE##*/} \
--directory=lockstep"
}

# TensorFlow for TPUs is another package with the same files: the usual one has
# to go before it comes.
setup() {
  on all "cd lockstep && sudo apt-get update && \
sudo apt-get install --yes python3-venv && python3 -m venv .venv && \
.venv/bin/pip install --upgrade pip && .venv/bin/pip install '.[tpu]' && \
.venv/bin/pip uninstall --yes tensorflow && \
.venv/bin/pip install 'tensorflow-tpu==2.20.0' && \
.venv/bin/python -c 'import tensorflow as tf; print(tf.__version__)'"
}

run() {
  local training=() tpu
  check_training gs://bucket/runs/imagenet
  check_number max_restarts 0 100
  training_command .venv/bin/python trainer.main tpu
  if [[ ${flag[pod]} == yes ]]; then
    # The TPU belongs to the servers; this process must leave it alone.
    tpu="TPU_NAME=${flag[name]} TPU_LOAD_LIBRARY=0"
  else
    tpu="TPU_NAME=local NEXT_PLUGGABLE_DEVICE_USE_C_API=true \
TF_PLUGGABLE_DEVICE_LIBRARY_PATH=\$(.venv/bin/python -c \
'import libtpu; print(libtpu.get_library_path())')"
  fi
  on 0 "cd lockstep || exit 2; if $RUNS; then \
echo 'error: a training runs here already. Stop it first.' >&2; exit 2; fi; \
export $tpu; nohup setsid bash launch/restart.sh \
--max_restarts=${flag[max_restarts]} -- $(quote "${training[@]}") \
>>train.log 2>&1 </dev/null & echo \$! >train.pid"
}

logs() {
  local follow=''
  check_number lines 1 50
  [[ ${flag[follow]} == no ]] || follow=' --follow'
  on 0 "tail --lines=${flag[lines]}$follow lockstep/train.log"
}

status() {
  run_or_print "${TPU[@]}" describe "${flag[name]}" "${where[@]}" \
    '--format=value(state)'
  on 0 "cd lockstep && if $RUNS; then echo training; else echo not training; \
fi; tail --lines=1 train.log"
}

stop() {
  on 0 "cd lockstep && if $RUNS; then kill -TERM \"\$(cat train.pid)\"; fi"
}

delete() {
  if [[ ${flag[queued]} == yes ]]; then
    run_or_print "${QUEUED[@]}" delete "${flag[name]}" "${where[@]}" --force
  else
    run_or_print "${TPU[@]}" delete "${flag[name]}" "${where[@]}"
  fi
}

action=${1:---help}
if [[ $action == --help || $action == -h ]]; then show_help; fi
[[ " $ACTIONS " == *" $action "* ]] ||
  fail "'$action' is not an action. Write one of: $ACTIONS. --help shows" \
    "examples."
shift
parse_flags "$@"
require name tpu1
check_match name '[a-z]([a-z0-9-]*[a-z0-9])?' \
  'lower-case letters, digits and -, a letter first' tpu1
require zone us-west4-a
check_match zone '[a-z0-9-]+' 'a zone' us-west4-a
check_match project '[a-z0-9:.-]+' "a project's ID" my-project
check_match type '[A-Za-z0-9-]+' 'an accelerator type' v5litepod-8
check_match version '[A-Za-z0-9._-]+' 'a runtime version' tpu-ubuntu2204-base
where=("--zone=${flag[zone]}")
[[ -z ${flag[project]} ]] || where+=("--project=${flag[project]}")
[[ ${flag[print]} == yes ]] ||
  check_tool gcloud "Install Google Cloud's command line, or write --print."
"$action"
