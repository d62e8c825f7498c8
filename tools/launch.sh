#!/usr/bin/env bash
# What dist_train.sh and dist_test.sh share: launch.sh SCRIPT POSITIONALS ARGUMENTS...
# POSITIONALS arguments go to the script, the next is the number of processes on this node.
set -euo pipefail

fail() { printf '%s\n' "$@" >&2; exit 2; }

script=$1 positionals=$2
shift 2
[ $# -gt "$positionals" ] || fail "usage: see the head of tools/dist_${script%.py}.sh"
arguments=("${@:1:positionals}")
processes=${*:positionals+1:1}
shift $((positionals + 1))
[[ $processes =~ ^[1-9][0-9]*$ ]] || fail "the number of processes must be a number, got '$processes'"

nodes=${NNODES:-1} rank=${NODE_RANK:-0}
if [ "$nodes" -gt 1 ]; then
    [ -n "${MASTER_ADDR:-}" ] || fail "NNODES=$nodes needs MASTER_ADDR, the address of node 0." \
        "What to do: set it to the same value on all nodes."
    [ -n "${NODE_RANK:-}" ] || fail "NNODES=$nodes needs NODE_RANK, from 0 to $((nodes - 1))." \
        "What to do: set another one on each node."
    [ "$rank" -lt "$nodes" ] || fail "NODE_RANK=$rank does not go with NNODES=$nodes."
    where=(--master_addr="$MASTER_ADDR" --master_port="${PORT:-29500}")
elif [ -n "${PORT:-}" ]; then
    where=(--master_addr=127.0.0.1 --master_port="$PORT")
else
    # one node and no port asked for: torchrun finds a free one
    where=(--standalone)
fi

# torchrun starts the processes again, the script says at which checkpoint
restarts=0
for ((i = 1; i <= $#; i++)); do
    next=$((i + 1))
    case ${!i} in
        --max-restarts) restarts=${!next:-} ;;
        --max-restarts=*) restarts=${!i#*=} ;;
    esac
done
[[ $restarts =~ ^[0-9]+$ ]] || fail "--max-restarts must be a number, got '$restarts'"

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# without it every process takes all cores
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$python" -m torch.distributed.run --nnodes="$nodes" --node_rank="$rank" "${where[@]}" \
    --nproc_per_node="$processes" --max_restarts="$restarts" "$root/tools/$script" "${arguments[@]}" --launcher pytorch "$@"
