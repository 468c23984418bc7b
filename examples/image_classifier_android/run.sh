#!/bin/sh
# Images to an Android package: trained, shrunk for GPU and CPU, judged, packaged with real golden vectors, proved.
# `sh run.sh fashion_mnist.npz` takes the clothes of Fashion-MNIST in place of scikit-learn's digits.
set -eu
archive=${1:+$(realpath "$1")}
cd "$(dirname "$0")"
rm -rf out
export TF_CPP_MIN_LOG_LEVEL=3
PS4='$ '
set -x
python train.py out ${archive:+"$archive"}
edgekit optimize out/classifier.keras --data data.toml -t android-arm64 -r channels50-float16 -r channels50-int8 --max-drop 3% -o out/build --no-benchmark
edgekit check out/build/android-arm64/channels50-float16 -t android-gpu
edgekit vectors out/build/android-arm64/channels50-float16 --data data.toml -o out/gpu.npz
edgekit vectors out/build/android-arm64/channels50-int8 --data data.toml -o out/cpu.npz
edgekit package gpu=out/build/android-arm64/channels50-float16 cpu=out/build/android-arm64/channels50-int8 --for android -o out/classifier --name classifier --licence Apache-2.0 --vectors out/gpu.npz --vectors out/cpu.npz
edgekit verify out/classifier --run
sh apk.sh out/classifier out/classifier.apk
