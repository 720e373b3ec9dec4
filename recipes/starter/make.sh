#!/usr/bin/env bash
# How the bundled starter model was made. Needs the training pictures, which are not shipped (provenance.json names them):
#   recipes/starter/make.sh DATA WORK
# DATA holds pretrain/ (photographs), train/ and val/ (each with real/SOURCE/ and fake/GENERATOR/); WORK receives the
# backbone, the stores and the model. Started again after a stop, it goes on where it was. For a quick trial of the whole way,
# set FIRST_HOURS and SECOND_HOURS to 0.01 or so, and take few pictures.
set -euo pipefail
data=$1 work=$2 here=$(dirname "$0")
tile=(--image-size 64 --patch-size 8 --min-scale 0.03 --max-scale 0.15 --hidden-size 192 --num-layers 6 --num-heads 3)
store=(--views tiles --resize-to 256 --jpeg-quality 92)

# Two legs: a short one at a constant learning rate, a long one that ends in a cosine. A third made the head worse.
cinemae pretrain "$data/pretrain" --out "$work/first" --hours "${FIRST_HOURS:-0.13}" --schedule constant --seed 0 "${tile[@]}"
cinemae pretrain "$data/pretrain" --out "$work/backbone" --hours "${SECOND_HOURS:-0.38}" --init-from "$work/first" --seed 1 "${tile[@]}"

# Portraits of FFHQ are photographs without a generated counterpart in training: they teach that faces are real.
{
  echo path,label,generator
  find "$(realpath "$data")/train" -type f -not -path '*/real/ffhq/*' | LC_ALL=C sort |
    awk -F/ -v OFS=, '{print $0, $(NF-2), $(NF-1)}'
} > "$work/train.csv"
cinemae extract "$work/train.csv" --out "$work/train.store" --backbone "$work/backbone" "${store[@]}"
cinemae extract "$work/train.csv" --out "$work/copies.store" --backbone "$work/backbone" "${store[@]}" --augment-seed 1
cinemae extract "$data/val" --out "$work/val.store" --backbone "$work/backbone" "${store[@]}"
cinemae train "$work/train.store" "$work/copies.store" --val "$work/val.store" --backbone "$work/backbone" \
  --out "$work/starter" --name cinemae-starter --view-pooling mean_std --views-drawn 6 --epochs 40 --cls-hidden 1024 \
  --provenance "$here/provenance.json"
