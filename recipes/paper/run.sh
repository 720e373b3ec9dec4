#!/usr/bin/env bash
# One table of the paper on the paper's own data, from pictures to report:
#   recipes/paper/run.sh TABLE DATA WORK [OPTION ...]
# README.md beside this file says how DATA has to lie and what a table takes. TABLE: table1 to table7, or any other
# protocol. An OPTION goes to cinemae reproduce, such as --seeds 1. Started again after a stop of any kind, the same line
# goes on where it was. From the environment: BACKBONE (BACKBONE_BASE and BACKBONE_HUGE for Tab. 5b), DEVICE, DTYPE,
# BATCH_SIZE, and TRAIN_DATA where the training images lie elsewhere than DATA (Tab. 4).
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
table=$1 data=$2 work=$3
shift 3
case $table in # tables of the same pictures share their stores
  table1 | table5a | table5b | table6a | table6b | table7 | ablation_reduction) stores=$work/genimage ;;
  table2 | table3) stores=$work/aigcdetect ;;
  *) stores=$work/$table ;;
esac
mae=facebook/vit-mae
large=${BACKBONE:-$mae-large}
options=(--backbone "$large" --preset paper --device "${DEVICE:-cuda}" --dtype "${DTYPE:-bfloat16}"
  --batch-size "${BATCH_SIZE:-64}" --detector cinemae --detector nll --detector lcas --detector format-probe)
case $table in
  table5a | figure2) options+=(--backbone "$mae-large=$large") ;;
  table5b | figure10) options+=(--backbone "$mae-large=$large" --backbone "$mae-base=${BACKBONE_BASE:-$mae-base}"
    --backbone "$mae-huge=${BACKBONE_HUGE:-$mae-huge}") ;;
esac
[ -z "${TRAIN_DATA:-}" ] || options+=(--train-data "$TRAIN_DATA")

cinemae reproduce "$table" --data "$data" --work "$stores" --out "$work/tables" "${options[@]}" "$@"
[ ! -f "$work/tables/$table.parquet" ] || cinemae report "$work/tables/$table.parquet" --out "$work/reports/$table"
