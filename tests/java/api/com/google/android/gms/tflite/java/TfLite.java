package com.google.android.gms.tflite.java;
import com.google.android.gms.tasks.Task;
import com.google.android.gms.tflite.client.TfLiteInitializationOptions;
public class TfLite {
    public static Task<Void> initialize(android.content.Context context) { return null; }
    public static Task<Void> initialize(android.content.Context context, TfLiteInitializationOptions options) { return null; }
}
