#!/usr/bin/env bash
# Runs a training again whenever it has stopped with a checkpoint committed.
#
#   launch/restart.sh --max_restarts=100 -- python -m trainer.main \
#     --gin_file=gin/digits.gin --model_dir=runs/digits
#
#   --max_restarts=N   How often. Default: 100.
#   --pause=SECONDS    Before each restart. Default: 10.
#   --print            Show the command, run nothing.
#
# Only exit code 75 leads to a restart (docs/launch.md). SIGTERM, SIGINT, SIGHUP
# and SIGUSR1 are passed on, and after them there is none. Ends with the
# command's code.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

flag=([max_restarts]=100 [pause]=10 [print]=no)
SWITCHES='print'
child=''
stopped=no

# shellcheck disable=SC2317,SC2329  # The traps call it.
pass_on() {
  stopped=yes
  [[ -z $child ]] || kill -s "$1" "$child" 2>/dev/null || true
}

# Runs the command in the background, where signals can reach this script.
run_once() {
  code=0
  "${trainer_args[@]}" &
  child=$!
  # A signal ends `wait` early.
  while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done
  wait "$child" || code=$?
  child=''
}

parse_flags "$@"
check_number max_restarts 0 100
check_number pause 0 10
((${#trainer_args[@]})) ||
  fail "There is no command. Write it after --: -- python -m trainer.main ..."
if [[ ${flag[print]} == yes ]]; then
  run_or_print "${trainer_args[@]}"
  exit 0
fi
for name in TERM INT HUP USR1; do
  # shellcheck disable=SC2064  # The name of now.
  trap "pass_on $name" "$name"
done
for ((restarts = 0; ; restarts++)); do
  run_once
  if ((code != 75)) || [[ $stopped == yes ]]; then
    break
  elif ((restarts == flag[max_restarts])); then
    echo "error: stopped at a checkpoint after --max_restarts=$restarts." \
      "Run the command again to go on." >&2
    break
  fi
  echo "Stopped at a checkpoint; restart $((restarts + 1)) follows." >&2
  sleep "${flag[pause]}" || true
  [[ $stopped == no ]] || break
done
echo "The command ended with code $code." >&2
exit "$code"
