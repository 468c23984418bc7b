#!/bin/sh
# A U-Net for a Coral Edge TPU: asked what maps before it is trained, trained, quantized, judged, run, compiled.
set -eu
cd "$(dirname "$0")"
rm -rf out
export TF_CPP_MIN_LOG_LEVEL=3
PS4='$ '
set -x
edgekit check train.py:textbook -t coral-usb
edgekit check train.py:unet -t coral-usb
python train.py out
edgekit optimize out/shapes.keras --data out/shapes.npz -t coral-usb -r recipe.toml --max-drop 2% -o out/build --no-benchmark
edgekit check out/build/coral-usb/coral -t coral-usb --fail-on warn
python board.py out/build/coral-usb/coral/shapes-coral.tflite out/scene.png out/mask.png
edgekit compile out/build/coral-usb/coral --for edgetpu -o out/compiled || { [ $? = 4 ]; } 2>/dev/null  # 4: it is not installed
