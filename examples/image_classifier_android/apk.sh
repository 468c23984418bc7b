#!/bin/sh
# `sh apk.sh PACKAGE APK`: the assets of an Android package in an APK, linked, aligned and signed by Android's own tools.
# ANDROID_JAR is the android.jar of an SDK; without it, that of Debian's android-framework-res is taken.
set -eu
package=$1 apk=$2
framework=${ANDROID_JAR:-/usr/share/android-framework-res/framework-res.apk}
for tool in aapt2 zipalign apksigner keytool; do
    if ! command -v "$tool" >/dev/null || ! [ -e "$framework" ]; then
        echo "no APK is made: $tool or $framework is not here"
        echo "  mend: apt-get install aapt zipalign apksigner android-framework-res openjdk-17-jdk-headless"
        exit 0
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
aapt2 link -o "$work/linked.apk" --manifest AndroidManifest.xml -I "$framework" -A "$package/assets" -0 .tflite
zipalign -p 4 "$work/linked.apk" "$work/aligned.apk"
keytool -genkeypair -keystore "$work/debug.jks" -storepass android -keypass android -alias debug -keyalg EC \
    -dname CN=debug -validity 10000 >"$work/said" 2>&1 || { cat "$work/said"; exit 1; }
apksigner sign --ks "$work/debug.jks" --ks-pass pass:android --out "$apk" "$work/aligned.apk"
apksigner verify "$apk"
zipalign -c -p 4 "$apk"
echo "$apk: signed with a key for debugging, its models mapped from where they are"
