#!/usr/bin/env bash
# Train in several processes: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several nodes: run it on each with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR and PORT set.
set -euo pipefail
exec "$(dirname "$0")/launch.sh" train.py 1 "$@"
