#!/usr/bin/env bash
# A study on Slurm: a Ray head and its workers by srun, then the study, which is this script's arguments:
#
#   sbatch cluster/configs/slurm.sh python -m ablations run --preset quickstart --seeds 0-9 --home "$PWD/runs"
#
# Submit from the checkout with its environment active, on a file system that all nodes see. A job that is preempted, that
# loses a node or runs out of time is queued again under the same number and goes on where it stopped.
#SBATCH --job-name=rambo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
#SBATCH --signal=B:USR1@120
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "slurm.sh: a study's command must follow, got none; see the head of $0." >&2
    exit 2
fi

export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}  # since Slurm 22.05 srun does not take it from the job by itself
patience=${RAMBO_WAIT_SECONDS:-600}                  # for the other nodes to join Ray's head

# Ports of one job: a thousand that follow from its number, so that two jobs on a node seldom meet
base=$((20000 + SLURM_JOB_ID % 10 * 1000))
ports=(
    --node-manager-port=$((base + 1)) --object-manager-port=$((base + 2)) --runtime-env-agent-port=$((base + 3))
    --dashboard-agent-listen-port=$((base + 4)) --dashboard-agent-grpc-port=$((base + 5))
    --metrics-export-port=$((base + 6)) --min-worker-port=$((base + 100)) --max-worker-port=$((base + 999))
)
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
head_ip=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" hostname -I | cut -d ' ' -f 1)
export RAY_ADDRESS=$head_ip:$base

# Whoever reads the token can run code as you; it lies in a file that only you can read, and never on a command line
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/token-$SLURM_JOB_ID RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_TOKEN
umask 077
mkdir -p "$HOME/.ray"
python -c 'import secrets; print(secrets.token_hex(32))' >"$RAY_AUTH_TOKEN_PATH"

study=
leave() {
    trap '' USR1
    for process in $study $(jobs -p); do
        kill -TERM "$process" 2>/dev/null || true
    done
    wait
    rm -f "$RAY_AUTH_TOKEN_PATH"
}
again() {
    echo "slurm.sh: the time is nearly up; job $SLURM_JOB_ID is queued again and goes on from here." >&2
    leave
    trap - EXIT
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
}
trap leave EXIT
trap again USR1

started=(--block --num-cpus="$SRUN_CPUS_PER_TASK" "${ports[@]}")
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="$head_ip" --port="$base" --ray-client-server-port=$((base + 7)) \
    --dashboard-host=127.0.0.1 --dashboard-port=$((base + 8)) --temp-dir="/tmp/ray-$USER-$SLURM_JOB_ID" \
    "${started[@]}" &
until ray health-check --address "$RAY_ADDRESS" >/dev/null 2>&1; do
    if ! kill -0 $! 2>/dev/null; then
        echo "slurm.sh: Ray's head must start on $head, but srun ended; what it said is above." >&2
        exit 1
    fi
    sleep 1
done
workers=
others=$((SLURM_JOB_NUM_NODES - 1))
if [ "$others" -gt 0 ]; then
    srun --overlap --nodes="$others" --ntasks="$others" --exclude="$head" \
        ray start --address="$RAY_ADDRESS" "${started[@]}" &
    workers=$!
fi

# Signals are taken between commands: what lasts runs beside this shell, so that the end of the time is noticed at once
python - "$SLURM_JOB_NUM_NODES" "$patience" "$workers" <<'PYTHON' &
import os, sys, time, ray

number, patience, workers = sys.argv[1:]
print(f"slurm.sh: waiting for Ray on {number} nodes", file=sys.stderr)
ray.init(log_to_driver=False, logging_level="ERROR")
end = time.monotonic() + float(patience)
while (alive := sum(node["Alive"] for node in ray.nodes())) < int(number):
    if not os.path.exists(f"/proc/{workers}"):
        sys.exit(f"slurm.sh: Ray must start on {number} nodes, got {alive}, and srun ended; what it said is above.")
    if time.monotonic() > end:
        sys.exit(f"slurm.sh: Ray must start on {number} nodes within {patience} s (RAMBO_WAIT_SECONDS), got {alive}.")
    time.sleep(1)
print(f"slurm.sh: {alive} nodes, {ray.cluster_resources()}", file=sys.stderr)
PYTHON
wait $!

"$@" &
study=$!
wait "$study"
