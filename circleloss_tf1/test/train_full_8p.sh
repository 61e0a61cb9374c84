#!/usr/bin/env bash
# Train Circle loss on 8 devices (--nproc_per_node=N for others):
#     bash test/train_full_8p.sh --data_path=FOLDER [--flag=value ...]
# --help lists the flags. Defaults may be set here; an empty one leaves the program's own.
set -euo pipefail

# shellcheck disable=SC1007,SC2034  # the library reads these
data_path= output_path= batch_size= train_epochs= train_steps= precision_mode=

library=$(dirname -- "${BASH_SOURCE[0]}")/../../common/shell/train_1p.sh
[ -f "$library" ] || { echo "[Error] common/ is missing: upload the repository root as code directory" >&2; exit 1; }
# shellcheck source=common/shell/train_1p.sh
source "$library"
train_1p train_acc.py --distributed=True --nproc_per_node=8 -- "$@"
