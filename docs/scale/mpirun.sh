#!/usr/bin/env bash
# Train with Open MPI or MPICH: bash docs/scale/mpirun.sh RANKS DATA OUTPUT [--flag=value ...]
# On several machines give mpirun its host file through MPIRUN="mpirun --hostfile hosts", and --master_addr=HOST, the
# machine of rank 0.
set -euo pipefail
ranks=$1 data_path=$2 output_path=$3
shift 3

# shellcheck disable=SC2086  # a command with arguments
${MPIRUN:-mpirun} -np "$ranks" bash siamese_omniglot/test/train_full_1p.sh --distributed=True \
    --data_path="$data_path" --output_path="$output_path" "$@"
