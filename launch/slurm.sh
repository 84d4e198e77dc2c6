#!/usr/bin/env bash
# make install                                       once, where there is a network
# sbatch launch/slurm.sh --profile full              two machines of eight GPUs
# sbatch --nodes=1 --gpus-per-node=4 launch/slurm.sh --profile full --models phi-2
#SBATCH --job-name=alpaca-lab
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --output=alpaca-lab-%j.log
#SBATCH --requeue
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
export NODES=$SLURM_JOB_NUM_NODES GPUS=$SLURM_GPUS_ON_NODE HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-0}
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
export HEAD
# Where a machine dies, so does the job: it is queued again, and goes on where it was.
srun --kill-on-bad-exit=1 bash -c 'NODE_RANK=$SLURM_NODEID exec launch/node.sh "$@"' node "$@"
