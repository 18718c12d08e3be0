#!/usr/bin/env bash
# Submits a training to Slurm, which requeues it as often as it is stopped.
#
#   launch/slurm.sh --nodes=2 --tasks_per_node=4 --gpus_per_task=1 \
#     --time=24:00:00 --partition=gpu --gin_file=gin/imagenet_resnet50.gin \
#     --model_dir=/shared/runs/imagenet \
#     -- --gin_param='DATA_DIR="/shared/imagenet"'
#   launch/slurm.sh --gin_file=F --model_dir=D --print > job.sh
#
# What stands after -- goes to trainer.main as it is. The folder this is called
# in, this repository, the data and --model_dir must be on a shared file system.
#
#   --gin_file=FILE        Recipe. Required.
#   --model_dir=DIR        Directory of the run. Required.
#   --nodes=N              Default: 1.
#   --tasks_per_node=N     Worker processes on each node. Default: 1.
#   --gpus_per_task=N      GPUs of each process. Default: 0.
#   --cpus_per_task=N      Default: what the partition gives.
#   --time=LIMIT           Of each stretch, as Slurm writes it: minutes,
#                          hours:minutes:seconds, days-hours ... Default: the
#                          partition's.
#   --partition=NAME       Default: the cluster's.
#   --engine=NAME          multi_worker, horovod; for a single task mirrored,
#                          auto. Default: multi_worker, or auto for one task.
#   --signal=SECONDS       How long before the time limit the training is told
#                          to save and stop; at most half of --time.
#                          Default: 120.
#   --max_requeues=N       How often to go on in a new stretch. Default: 100.
#   --exit_wait=SECONDS    How long the other tasks may take to end after the
#                          first one has. Default: 60.
#   --port=N               First port of the workers. Default: by job number.
#   --name=NAME            Of the job. Default: lockstep.
#   --program=MODULE       What to run: trainer.main (default) or
#                          trainer.evaluate.
#   --python=PATH          On the nodes. Default: python3 on PATH here.
#   --print                Show the batch script, submit nothing.
#
# Account, quality of service and the like: sbatch reads SBATCH_ACCOUNT,
# SBATCH_QOS, SBATCH_CONSTRAINT ... Exit codes: docs/launch.md.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flag=([gin_file]='' [model_dir]='' [nodes]=1 [tasks_per_node]=1
  [gpus_per_task]=0 [cpus_per_task]='' [time]='' [partition]='' [engine]=''
  [signal]=120 [max_requeues]=100 [exit_wait]=60 [port]='' [name]=lockstep
  [program]=trainer.main [python]='' [print]=no)
SWITCHES='print'

# Prints the seconds of --time: minutes, minutes:seconds,
# hours:minutes:seconds, days-hours, days-hours:minutes[:seconds].
limit_seconds() {
  local days=0 clock=${flag[time]} parts
  [[ $clock != *-* ]] || days=${clock%-*}
  IFS=: read -ra parts <<<"${clock#*-}"
  if [[ $clock != *-* && ${#parts[@]} -lt 3 ]]; then
    parts=(0 "${parts[@]}")
  fi
  # 10#: 08 is not octal.
  echo $((10#$days * 86400 + 10#${parts[0]} * 3600 + 10#${parts[1]:-0} * 60 + \
    10#${parts[2]:-0}))
}

# A signal at the start of each stretch would requeue the job without progress.
check_signal() {
  [[ -n ${flag[time]} ]] || return 0
  local limit
  limit=$(limit_seconds)
  # 0 is no limit.
  ((limit == 0 || flag[signal] <= limit / 2)) ||
    fail "--signal=${flag[signal]} is more than half of --time=${flag[time]}," \
      "which is $limit s, so that little time is left to train in. Write" \
      "--signal=$((limit / 2)) or less, or a longer --time."
}

check_flags() {
  check_training /shared/runs/imagenet
  check_number nodes 1 2
  check_number tasks_per_node 1 4
  check_number gpus_per_task 0 1
  [[ -z ${flag[cpus_per_task]} ]] || check_number cpus_per_task 1 8
  check_match time '[0-9]+(-[0-9]+)?(:[0-9]+){0,2}' 'a time limit' 24:00:00
  check_match partition '[^[:space:]]+' 'the name of a partition' gpu
  check_match name '[A-Za-z0-9_.-]+' 'letters, digits, _ . and -' lockstep
  check_number signal 1 120
  check_signal
  check_number max_requeues 0 100
  check_number exit_wait 1 60
  [[ -z ${flag[port]} ]] || check_number port 1024 20000
  check_choice program trainer.main trainer.evaluate
  check_engine $((flag[nodes] * flag[tasks_per_node])) tasks_per_node \
    gpus_per_task
}

# Fills `step` with what runs on the nodes.
step_command() {
  local python
  python=$(find_python)
  training_command "$python" "${flag[program]}" "${flag[engine]}"
  step=(srun --label --mpi=none --distribution=block --kill-on-bad-exit=0
    "--wait=${flag[exit_wait]}")
  [[ -z ${flag[cpus_per_task]} ]] ||
    step+=("--cpus-per-task=${flag[cpus_per_task]}")
  # Horovod's engine takes its own of the node's GPUs; the other sees only its.
  [[ ${flag[engine]} != horovod || ${flag[gpus_per_task]} == 0 ]] ||
    step+=(--gpu-bind=none)
  if has_workers; then
    step+=("$python" -m launch.task "--engine=${flag[engine]}")
    [[ -z ${flag[port]} ]] || step+=("--port=${flag[port]}")
    step+=(--)
  fi
  step+=("${training[@]}")
}

directives() {
  echo "#SBATCH --job-name=${flag[name]}"
  echo "#SBATCH --nodes=${flag[nodes]}"
  echo "#SBATCH --ntasks-per-node=${flag[tasks_per_node]}"
  [[ -z ${flag[cpus_per_task]} ]] ||
    echo "#SBATCH --cpus-per-task=${flag[cpus_per_task]}"
  [[ ${flag[gpus_per_task]} == 0 ]] ||
    echo "#SBATCH --gpus-per-task=${flag[gpus_per_task]}"
  [[ -z ${flag[time]} ]] || echo "#SBATCH --time=${flag[time]}"
  [[ -z ${flag[partition]} ]] || echo "#SBATCH --partition=${flag[partition]}"
  echo "#SBATCH --requeue"
  echo "#SBATCH --signal=USR1@${flag[signal]}"
  echo "#SBATCH --open-mode=append"
  echo "#SBATCH --output=%x-%j.log"
}

batch_script() {
  local step=() training=()
  step_command
  cat <<EOS
#!/bin/bash
$(directives)
# Written by launch/slurm.sh.
max_requeues=${flag[max_requeues]}
export PYTHONPATH=$(quote "$REPO")\${PYTHONPATH:+:\$PYTHONPATH}
export PYTHONUNBUFFERED=1

# Slurm signals the tasks as well; this shell waits for what they make of it.
trap : TERM USR1

code=0
$(quote "${step[@]}") || code=\$?
# 75: stopped with a checkpoint committed. 138: SIGUSR1 came before a task could
# listen, and its last checkpoint is where it goes on.
[ "\$code" = 75 ] || [ "\$code" = 138 ] || exit "\$code"

# Not RUNNING: someone has cancelled the job, or Slurm itself is about to
# requeue it. SIGNALING: it still notes that the tasks have been told.
for _ in {1..10}; do
  state=\$(squeue --noheader --jobs="\$SLURM_JOB_ID" --format=%T)
  [ "\$state" = SIGNALING ] || break
  sleep 1
done
if [[ ! "\$state" =~ ^(RUNNING|SIGNALING)\$ ]]; then
  echo "Stopped with code \$code; not requeued: the job is \${state:-gone}."
elif [ "\${SLURM_RESTART_COUNT:-0}" -ge "\$max_requeues" ]; then
  echo "error: stopped with code \$code after --max_requeues=\$max_requeues." \\
    "Submit the job again to go on." >&2
else
  echo "Stopped with code \$code; requeued to go on."
  scontrol requeue "\$SLURM_JOB_ID"
fi
exit "\$code"
EOS
}

parse_flags "$@"
check_flags
if [[ ${flag[print]} == yes ]]; then
  batch_script
else
  check_tool sbatch "Call this on a login node, or write --print."
  script=$(batch_script)
  sbatch <<<"$script"
fi
