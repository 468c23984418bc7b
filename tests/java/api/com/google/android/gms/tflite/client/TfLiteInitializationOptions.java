package com.google.android.gms.tflite.client;
public abstract class TfLiteInitializationOptions {
    public static Builder builder() { return null; }
    public abstract static class Builder {
        public abstract Builder setEnableGpuDelegateSupport(boolean enabled);
        public abstract TfLiteInitializationOptions build();
    }
}
