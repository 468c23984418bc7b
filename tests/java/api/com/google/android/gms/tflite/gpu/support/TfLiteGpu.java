package com.google.android.gms.tflite.gpu.support;
public class TfLiteGpu {
    public static com.google.android.gms.tasks.Task<Boolean> isGpuDelegateAvailable(android.content.Context context) { return null; }
}
