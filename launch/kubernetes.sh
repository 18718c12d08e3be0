#!/usr/bin/env bash
# Trains on Kubernetes: a Job of worker pods, and one that evaluates beside it.
#
#   launch/kubernetes.sh --image=registry.example/lockstep:1 --workers=4 \
#     --gpus=8 --pvc=runs --gin_file=gin/imagenet_resnet50.gin \
#     --model_dir=/data/runs/imagenet \
#     -- --gin_param='DATA_DIR="/data/imagenet"'
#   launch/kubernetes.sh --image=I --gin_file=F --model_dir=gs://bucket/run \
#     --service_account=trainer --print | kubectl diff -f -
#
# What stands after -- goes to trainer.main and to trainer.evaluate as it is.
# The image has Lockstep's repository as its working folder, and all it needs
# installed. Kubernetes 1.31 or newer.
#
#   --image=IMAGE              Required.
#   --gin_file=FILE            Recipe, in the image. Required.
#   --model_dir=DIR            On the volume of --pvc, or gs://. Required.
#   --name=NAME                Of the Job and its Service. Default: lockstep.
#   --namespace=NAME           Default: default.
#   --workers=N                Pods of the training. Default: 1.
#   --gpus=N                   GPUs of each worker. Default: 1.
#   --cpus=N                   CPUs of each worker. Default: 4.
#   --memory=SIZE              Memory of each worker. Default: 16Gi.
#   --shared_memory=SIZE       /dev/shm of each worker, a part of its memory.
#                              Default: 2Gi.
#   --engine=NAME              multi_worker, horovod; for a single worker
#                              mirrored, auto. Default: multi_worker, or auto
#                              for one worker.
#   --pvc=NAME                 PersistentVolumeClaim for all pods, which many
#                              nodes may write. Needed unless --model_dir is
#                              gs://.
#   --mount=PATH               Where it is mounted. Default: /data.
#   --service_account=NAME     For gs://. Default: the namespace's.
#   --node_selector=KEY=VALUE  Nodes to run on, such as those of one GPU type.
#   --grace=SECONDS            To save a checkpoint after SIGTERM. Default: 120.
#   --max_restarts=N           Failures of the training to bear; stops with a
#                              checkpoint do not count. Default: 3.
#   --port=N                   Of the workers. Default: 12345.
#   --python=PATH              In the image. Default: python.
#   --no_evaluation            The training alone.
#   --evaluation_gpus=N        Default: 0.
#   --evaluation_cpus=N        Default: 2.
#   --evaluation_memory=SIZE   Default: 8Gi.
#   --print                    Show the YAML, apply nothing.
#
# To take away what was applied: the same with --print | kubectl delete -f -
# Exit codes and restarts: docs/launch.md.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flag=([image]='' [gin_file]='' [model_dir]='' [name]=lockstep
  [namespace]=default [workers]=1 [gpus]=1 [cpus]=4 [memory]=16Gi
  [shared_memory]=2Gi [engine]='' [pvc]='' [mount]=/data [service_account]=''
  [node_selector]='' [grace]=120 [max_restarts]=3 [port]=12345 [python]=python
  [no_evaluation]=no [evaluation_gpus]=0 [evaluation_cpus]=2
  [evaluation_memory]=8Gi [print]=no)
SWITCHES='no_evaluation print'
LABEL='[a-z]([a-z0-9-]*[a-z0-9])?'
LABEL_RULE='lower-case letters, digits and -, a letter first'
SIZE='[1-9][0-9]*([KMGT]i?)?'

check_flags() {
  local name
  check_training gs://bucket/runs/imagenet
  require image registry.example/lockstep:1
  check_match image '[A-Za-z0-9][A-Za-z0-9_./:@-]*' 'the name of an image' \
    registry.example/lockstep:1
  # Pods are called NAME-INDEX, in at most 63 characters.
  check_match name "$LABEL" "$LABEL_RULE" lockstep
  ((${#flag[name]} <= 52)) ||
    fail "--name=${flag[name]} must have 52 characters at most. Shorten it."
  for name in namespace pvc service_account; do
    check_match "$name" "$LABEL" "$LABEL_RULE" lockstep
  done
  for name in memory shared_memory evaluation_memory; do
    check_match "$name" "$SIZE" 'a size in bytes, Mi, Gi ...' 16Gi
  done
  for name in cpus evaluation_cpus; do
    check_match "$name" '[1-9][0-9]*m?|[0-9]+\.[0-9]+' 'a number of CPUs' 4
  done
  check_number workers 1 2
  check_number gpus 0 8
  check_number evaluation_gpus 0 1
  check_number grace 1 120
  check_number max_restarts 0 3
  check_number port 1024 12345
  check_match mount '/[A-Za-z0-9_./-]+' 'an absolute path' /data
  check_match node_selector '[A-Za-z0-9_./-]+=[A-Za-z0-9_.-]+' 'KEY=VALUE' \
    cloud.google.com/gke-accelerator=nvidia-h100-80gb
  check_engine "${flag[workers]}" workers gpus
  check_model_dir
}

check_model_dir() {
  [[ ${flag[model_dir]} != gs://* ]] || return 0
  [[ -n ${flag[pvc]} ]] ||
    fail "--model_dir=${flag[model_dir]} would be lost with the pod. Write" \
      "--pvc=CLAIM, or a --model_dir on gs://."
  [[ ${flag[model_dir]} == "${flag[mount]}"/* ]] ||
    fail "--model_dir=${flag[model_dir]} is not on the volume. Write" \
      "--model_dir=${flag[mount]}/..., or another --mount."
}

# Prints words as a JSON list for a container's command, where Kubernetes would
# replace $(NAME); $$ is a plain $.
json_list() {
  local word list=''
  for word; do
    word=${word//\\/\\\\}
    word=${word//\"/\\\"}
    word=${word//$'\n'/\\n}
    word=${word//$'\t'/\\t}
    word=${word//\$/\$\$}
    [[ $word != *[[:cntrl:]]* ]] ||
      fail "An argument has a control character: $(quote "$word"). Remove it."
    list+=", \"$word\""
  done
  printf '[%s]' "${list#, }"
}

# Fills `values`: what stands for {{name}} in the templates.
fill_values() {
  local training=() command=() evaluation=() name
  training_command "${flag[python]}" trainer.main "${flag[engine]}"
  command=("${training[@]}")
  if has_workers; then
    command=("${flag[python]}" -m launch.task "--engine=${flag[engine]}"
      "--port=${flag[port]}" -- "${training[@]}")
  fi
  training_command "${flag[python]}" trainer.evaluate auto
  evaluation=("${training[@]}")
  for name in "${!flag[@]}"; do values[$name]=${flag[$name]}; done
  values[last_worker]=$((flag[workers] - 1))
  values[backoff_limit]=$((flag[workers] * flag[max_restarts]))
  values[node_selector]="{\"${flag[node_selector]%%=*}\": \
\"${flag[node_selector]#*=}\"}"
  values[command]=$(json_list "${command[@]}")
  values[evaluation_command]=$(json_list "${evaluation[@]}")
}

# Whether "# if NAME" holds: the flag is given and not 0; no_NAME: it is not.
holds() {
  local name=${1#no_}
  if [[ -z ${flag[$name]} || ${flag[$name]} == 0 ]]; then
    [[ $1 == no_* ]]
  else
    [[ $1 != no_* ]]
  fi
}

# Prints a template with its values, without its own comments and the lines that
# do not hold.
render() {
  local line name rest
  while IFS= read -r line; do
    [[ $line != '#'* ]] || continue
    if [[ $line == *'  # if '* ]]; then
      holds "${line##*'  # if '}" || continue
      line=${line%'  # if '*}
    fi
    rest=$line line=''
    # From left to right: what was filled in is not looked at again.
    while [[ $rest =~ \{\{([a-z_]+)\}\} ]]; do
      name=${BASH_REMATCH[1]}
      line+=${rest%%"{{$name}}"*}${values[$name]}
      rest=${rest#*"{{$name}}"}
    done
    printf '%s\n' "$line$rest"
  done <"$REPO/launch/kubernetes/$1"
}

manifests() {
  local -A values=()
  fill_values
  render train.yaml
  [[ ${flag[no_evaluation]} == yes ]] || render evaluate.yaml
}

parse_flags "$@"
check_flags
if [[ ${flag[print]} == yes ]]; then
  manifests
else
  check_tool kubectl "Install it, or write --print to see the YAML."
  yaml=$(manifests)
  kubectl apply -f - <<<"$yaml"
fi
