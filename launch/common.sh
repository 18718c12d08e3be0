# shellcheck shell=bash
# What the launch scripts share: flags, messages, quoting, the training command.
#
# A script declares its flags with their defaults in `flag`, and which of them
# take no value in SWITCHES; `parse_flags "$@"` fills in what was given, and
# `trainer_args` with what stands after `--`.

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "error: bash ${BASH_VERSION} runs this script, which needs bash 4.4 or" \
    "newer. Install one and put it before the other on PATH." >&2
  exit 2
fi

# A failure inside $(...) ends the script as well.
shopt -s inherit_errexit

# shellcheck disable=SC2034  # Used by the scripts.
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
declare -A flag
trainer_args=()

# Ends the script with code 2, that of a wrong flag.
fail() {
  echo "error: $*" >&2
  exit 2
}

# Prints the comment at the top of the script, its manual, and ends with code 0.
show_help() {
  sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$0"
  exit 0
}

# Takes --name=value, --name value and, of SWITCHES, --name. Dashes inside a
# name may be written as underscores.
parse_flags() {
  local given name
  while (($#)); do
    given=$1
    shift
    case $given in
      --) trainer_args=("$@") && return ;;
      --help | -h) show_help ;;
      --?*) ;;
      *) fail "'$given' is not a flag. Write --name=value; arguments of the" \
        "training go after --. --help lists the flags." ;;
    esac
    name=${given#--}
    name=${name%%=*}
    name=${name//-/_}
    [[ $name =~ ^[a-z0-9_]+$ && -v flag[$name] ]] ||
      fail "--${given#--} is not a flag of ${0##*/}. --help lists them;" \
        "arguments of the training go after --."
    if [[ " $SWITCHES " == *" $name "* ]]; then
      [[ $given != *=* ]] ||
        fail "$given: --$name takes no value. Write --$name."
      flag[$name]=yes
    elif [[ $given == *=* ]]; then
      flag[$name]=${given#*=}
    else
      [[ $# -gt 0 && $1 != --* ]] ||
        fail "--$name has no value. Write --$name=VALUE."
      flag[$name]=$1
      shift
    fi
  done
}

# require NAME EXAMPLE: the flag must have been given.
require() {
  [[ -n ${flag[$1]} ]] || fail "--$1 is missing. Write, say, --$1=$2."
}

# check_match NAME REGEX RULE EXAMPLE: a value must match REGEX as a whole.
check_match() {
  [[ -z ${flag[$1]} || ${flag[$1]} =~ ^($2)$ ]] ||
    fail "--$1=${flag[$1]} must be $3. Write, say, --$1=$4."
}

# check_number NAME LEAST EXAMPLE: a whole number, LEAST or more.
check_number() {
  [[ ${flag[$1]} =~ ^(0|[1-9][0-9]{0,8})$ && ${flag[$1]} -ge $2 ]] ||
    fail "--$1=${flag[$1]} must be a whole number, $2 or more. Write, say," \
      "--$1=$3."
}

# check_choice NAME CHOICE...: the value must be one of the choices.
check_choice() {
  local name=$1 choice
  shift
  for choice; do
    [[ ${flag[$name]} != "$choice" ]] || return 0
  done
  fail "--$name=${flag[$name]} must be one of: $*. Write, say, --$name=$1."
}

# check_tool NAME FIX: a program must be on PATH.
check_tool() {
  command -v "$1" >/dev/null || fail "$1 is not on PATH. $2"
}

# Prints words so that a shell, POSIX or bash, reads the same words again.
quote() {
  local word text='' single="'" escaped="'\\''"
  for word; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then
      text+=" $word"
    else
      text+=" '${word//$single/$escaped}'"
    fi
  done
  printf '%s' "${text# }"
}

# Runs a command; with --print, shows it instead.
run_or_print() {
  if [[ ${flag[print]} == yes ]]; then
    quote "$@"
    echo
  else
    "$@"
  fi
}

# Checks the flags that all trainings have.
check_training() {
  require gin_file gin/digits.gin
  require model_dir "$1"
}

# Prints the Python to use: --python, or the one of this shell.
find_python() {
  local found=${flag[python]}
  [[ -n $found ]] || found=$(command -v python3 || command -v python) ||
    fail "There is no python3 on PATH. Activate the environment that Lockstep" \
      "is installed in, or write --python=/path/to/python."
  printf '%s' "$found"
}

# training_command PYTHON MODULE ENGINE: fills `training` with the command.
training_command() {
  # shellcheck disable=SC2034  # Used by the scripts.
  training=("$1" -m "$2" "--gin_file=${flag[gin_file]}"
    "--model_dir=${flag[model_dir]}" "--gin_param=make_engine.name=\"$3\""
    "${trainer_args[@]}")
}

# check_engine TASKS TASKS_FLAG GPUS_FLAG: checks --engine or fills it in.
check_engine() {
  [[ -n ${flag[engine]} || $1 -gt 1 ]] || flag[engine]=auto
  flag[engine]=${flag[engine]:-multi_worker}
  check_choice engine multi_worker horovod mirrored auto
  [[ $1 == 1 ]] || has_workers ||
    fail "--engine=${flag[engine]} is one process, but --$2 and the like make" \
      "$1. Write --engine=multi_worker or horovod."
  [[ ${flag[engine]} != horovod || ${flag[$3]} -le 1 ]] ||
    fail "--engine=horovod drives one GPU a process, not --$3=${flag[$3]}." \
      "Write --$3=1 and a larger --$2."
}

# Whether the engine has a process for each worker.
has_workers() {
  [[ ${flag[engine]} == multi_worker || ${flag[engine]} == horovod ]]
}
