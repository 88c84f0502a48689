#!/bin/sh
# Start this node's part of a training run on several nodes; call it on every node, in any order:
#
#   NODES=2 NODE_RANK=0 MASTER_HOST=node-a INTERFACE=ib0 sh deploy/training/launch_node.sh --config run.yaml --resume 1
#
# NODES        how many nodes there are (default: those of the Slurm job, else 1)
# NODE_RANK    number of this one, from 0 (default: that of the Slurm task, else 0)
# MASTER_HOST  name or IPv4 address of node 0 in the network of the job
# MASTER_PORT  where its launcher listens until all have come (default: 6170)
# INTERFACE    this node's interface in that network; rank 0, Gloo and NCCL then use no other (default: the address that
#              the name of the machine has)
# PROCESSES    processes on this node (default: one for each visible GPU)
# PYTHON       (default: python)
#
# What follows goes to train.py. --resume 1 begins where there is no checkpoint, so that one command is right for the
# first start and for every later one.
set -eu

nodes=${NODES:-${SLURM_JOB_NUM_NODES:-1}}
rank=${NODE_RANK:-${SLURM_NODEID:-0}}
python=${PYTHON:-python}
port=${MASTER_PORT:-6170}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

if [ "$nodes" -gt 1 ] && [ -z "${MASTER_HOST:-}" ]; then
    echo "launch_node.sh: MASTER_HOST is not set; it is the name or the address of node 0" >&2
    exit 2
fi

# Paddle's launcher compares addresses, not names. A node that starts first may have to wait for the name of another.
master=
for _ in $(seq 120); do
    master=$(getent ahostsv4 "${MASTER_HOST:-127.0.0.1}" | awk '{print $1; exit}') || true
    [ -n "$master" ] && break
    sleep 1
done
if [ -z "$master" ]; then
    echo "launch_node.sh: MASTER_HOST is '$MASTER_HOST', which has no IPv4 address" >&2
    exit 2
fi

host=${POD_IP:-}
if [ -n "${INTERFACE:-}" ]; then
    export ARCFACE_PADDLE_INTERFACE="$INTERFACE"
    host=$("$python" -c '
import socket, sys, psutil
found = [a.address for a in psutil.net_if_addrs().get(sys.argv[1], ()) if a.family == socket.AF_INET]
sys.exit(f"launch_node.sh: INTERFACE is {sys.argv[1]!r}, which has no IPv4 address here") if not found else print(found[0])
' "$INTERFACE")
fi

set -- "$here/../../train.py" "$@"
[ -n "${PROCESSES:-}" ] && set -- --nproc_per_node "$PROCESSES" "$@"
[ -n "$host" ] && set -- --host "$host" "$@"
exec "$python" -m paddle.distributed.launch --master "$master:$port" --nnodes "$nodes" --rank "$rank" \
    --log_dir "${LOG_DIR:-log/node_$rank}" "$@"
