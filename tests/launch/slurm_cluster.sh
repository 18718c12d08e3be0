#!/usr/bin/env bash
# A Slurm cluster of one node on loopback, for tests. Needs root and Debian's
# slurm-wlm.
#
#   tests/launch/slurm_cluster.sh start FOLDER
#   SLURM_CONF=FOLDER/slurm.conf sbatch ...
#   tests/launch/slurm_cluster.sh stop FOLDER
#
# Everything is in FOLDER, which must be empty; nothing else of the machine is
# touched. Credentials go unchecked: not for anything but tests.
set -euo pipefail

if [[ $# -ne 2 || ! $1 =~ ^(start|stop)$ || ! -d $2 ]]; then
  echo "error: write $0 start|stop FOLDER; FOLDER must be there." >&2
  exit 2
fi
action=$1
folder=$(realpath "$2")
# Of this cluster alone: two may run at the same time.
port=$((20000 + $$ % 5000 * 2))
export SLURM_CONF=$folder/slurm.conf

configure() {
  mkdir -p "$folder"/{state,spool}
  cat >"$SLURM_CONF" <<EOS
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
AuthType=auth/none
CredType=cred/none
# A requeued job waits for its old credential to expire: 120 s by default.
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SchedulerTimeSlice=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
KillWait=10
MinJobAge=300
ReturnToService=2
SlurmdTimeout=60
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES State=UP OverSubscribe=FORCE:4
EOS
}

start() {
  configure
  slurmctld
  slurmd -N localhost
  for _ in {1..150}; do
    ! sinfo --noheader --states=idle --format=%N 2>/dev/null |
      grep -q localhost || return 0
    sleep 0.2
  done
  echo "error: the node did not become idle; see the logs in $folder." >&2
  tail --lines=20 "$folder"/slurm*.log >&2
  stop
  return 1
}

# Jobs first: what watches over them would outlive the daemons, waiting for one.
stop() {
  local name pid
  scancel --quiet --user=root || true
  for _ in {1..100}; do
    [[ -n $(squeue --noheader 2>/dev/null) ]] || break
    sleep 0.1
  done
  for name in slurmd slurmctld; do
    [[ -f $folder/$name.pid ]] || continue
    pid=$(<"$folder/$name.pid")
    kill "$pid" 2>/dev/null || continue
    for _ in {1..50}; do
      kill -0 "$pid" 2>/dev/null || continue 2
      sleep 0.1
    done
    kill -KILL "$pid"
  done
}

"$action"
