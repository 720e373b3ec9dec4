#!/usr/bin/env bash
# How the bundled starter model was made. Needs the training pictures, which are not shipped (provenance.json names where they
# come from), and an encoder:
#   pip install 'opencv-python-headless<5'
#   recipes/starter/make.sh LIST.csv PICTURES ENCODER WORK
# LIST.csv has the columns file (below PICTURES), class (fake or real), group, family, fold, sha256, width, height, format,
# make, repo and license; that of the bundled model holds all generated images and the first 100 photographs of each source, by
# their hash. ENCODER is what `cinemae backbone convert` takes: openai/clip-vit-base-patch16, a folder in its layout, or an
# ONNX file of it; facebook/dinov2-small runs too, and tells less. WORK receives everything else. Started again after a stop,
# it goes on where it was. On two cores it takes some four hours for 7,000 pictures; for a quick trial take few pictures and
# set HOURS to 0.02.
set -euo pipefail
list=$1 pictures=$2 encoder=$3 work=$4
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

[ -d "$work/encoder" ] || cinemae backbone convert "$encoder" --out "$work/encoder" --layers 6 --int8
# Both views of every picture, its centre square, and what layer 6 says of them, computed as what ships computes it.
python -m benchmarks.starter_features "$list" "$pictures" "$work/encoder" "$work/features" \
  --views ws,sc,c0 --layers 6-6 --int8 --keep-pixels
# Poor copies of some, so that noise and crops say less of the class.
python -m benchmarks.starter_features "$list" "$pictures" "$work/encoder" "$work/poor" \
  --views ws,c0 --layers 6-6 --int8 --keep-pixels --poor-copies
# Faces cut out of either class, so that a portrait says less of it. Few pictures show one: LIST may name more than are
# learnt from otherwise, as PORTRAITS_LIST (that of the bundled model: the same generated images and 16,429 photographs).
[ -f "$work/portraits/portraits.csv" ] ||
  python -m benchmarks.starter_portraits "${PORTRAITS_LIST:-$list}" "$pictures" "$work/portraits"
python -m benchmarks.starter_features "$work/portraits/portraits.csv" "$work/portraits" "$work/encoder" \
  "$work/portrait-features" --views ws,c0 --layers 6-6 --int8 --keep-pixels
# The decoder redraws masked patches of photographs; the encoder stays as it is.
python -m benchmarks.starter_photographs "$list" "$work/features" "$work/photographs"
cinemae pretrain "$work/photographs" --out "$work/backbone" --encoder "$work/encoder" --freeze-encoder \
  --decoder-hidden-size 192 --decoder-num-layers 4 --decoder-num-heads 6 --batch-size 8 --learning-rate 0.001 \
  --warmup-steps 200 --ema-decay 0.99 --min-scale 0.9 --max-scale 1.0 --hours "${HOURS:-1.1}"
python -m benchmarks.starter_lcas "$work/features" "$work/backbone" "$work/lcas" --int8
python -m benchmarks.starter_lcas "$work/poor" "$work/backbone" "$work/lcas-poor" --int8
python -m benchmarks.starter_lcas "$work/portrait-features" "$work/backbone" "$work/lcas-portraits" --int8
python -m benchmarks.starter_model "$list" --features "$work/features" --lcas "$work/lcas" \
  --poor-copies "$list" "$work/poor" "$work/lcas-poor" \
  --portraits "$work/portraits/portraits.csv" "$work/portrait-features" "$work/lcas-portraits" --backbone "$work/backbone" \
  --provenance "$here/provenance.json" --out "$work/starter"
# Its thresholds were found with the int8 graph, so that is what it runs by default. Pictures that it has learnt from tell
# how far that graph is from float32, not how good either is.
python -m benchmarks.starter_pictures "$list" "$pictures" "$work/fold-2-200" --fold 2 --each 200
cinemae export "$work/starter" --precision int8 --check-real "$work/fold-2-200/real" --check-fake "$work/fold-2-200/fake"
