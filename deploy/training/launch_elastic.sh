#!/bin/sh
# As launch_node.sh, for nodes that come and go: between LEAST and MOST of them, which meet in an etcd server.
#
#   ETCD=etcd.example.org:2379 JOB=ms1m LEAST=2 MOST=4 sh deploy/training/launch_elastic.sh --config run.yaml --resume 1
#
# The launcher of Paddle needs 'pip install etcd3 "protobuf<4"' for this. When a node leaves or comes, all ranks end and
# start again with the new number; --resume 1 continues from the last checkpoint, whose shards are divided anew, so that
# no more is lost than --save_every steps. The output has to lie on a disk that all nodes see.
set -eu

: "${ETCD:?host:port of the etcd server}" "${JOB:?name of the run, the same on every node}"
python=${PYTHON:-python}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

set -- "$here/../../train.py" "$@"
[ -n "${PROCESSES:-}" ] && set -- --nproc_per_node "$PROCESSES" "$@"
[ -n "${POD_IP:-}" ] && set -- --host "$POD_IP" "$@"
[ -n "${INTERFACE:-}" ] && export ARCFACE_PADDLE_INTERFACE="$INTERFACE"
exec "$python" -m paddle.distributed.launch --master "etcd://$ETCD" --job_id "$JOB" --nnodes "${LEAST:-2}:${MOST:-4}" \
    --elastic_level 1 --max_restart 100 --log_dir "${LOG_DIR:-log/$(hostname)}" "$@"
