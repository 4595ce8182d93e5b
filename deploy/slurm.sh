#!/bin/bash
# sbatch deploy/slurm.sh /share/photos /share/features
# Runs Ray on the nodes of one Slurm job. Submit it again to continue an interrupted run.
#SBATCH --job-name=headstart
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

photos=${1:?give the folder of images, visible to every node}
store=${2:?give the folder of the store, visible to every node}
port=6379

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}

srun --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
for node in "${nodes[@]:1}"; do
    srun --nodes=1 --ntasks=1 --nodelist="$node" \
        ray start --address="$head:$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
done

# The driver waits for the head node; nodes that join later get work when they are ready.
until ray status --address="$head:$port" > /dev/null 2>&1; do
    sleep 2
done
headstart features "$photos" --engine ray --address "$head:$port" --out "$store"
