#!/usr/bin/env bash
# What each machine of a launch runs, started by slurm.sh or sky.yaml: finetune and decode over all GPUs of all machines, then,
# on the first, scores and tables. Run it again and it goes on where it was. Needs one shared drive under one path.
#   NODES=2 GPUS=8 NODE_RANK=0 HEAD=first-machine launch/node.sh --profile full
set -euo pipefail
cd "$(dirname "$0")/.."
processes=$((NODES * GPUS))
for stage in finetune generate; do
  .venv/bin/accelerate launch --config_file launch/nodes_2.yaml \
    --num_machines "$NODES" --machine_rank "$NODE_RANK" --num_processes "$processes" --main_process_ip "$HEAD" \
    -m alpaca_lab "$stage" "$@" --world-size "$processes"
done
if [ "$NODE_RANK" = 0 ]; then
  .venv/bin/python -m alpaca_lab run "$@" # all is trained and answered: it scores and writes the tables
fi
