package org.tensorflow.lite.gpu;
public class GpuDelegateFactory implements org.tensorflow.lite.DelegateFactory {
    public GpuDelegateFactory(Options options) { }
    public static class Options {
        public Options setPrecisionLossAllowed(boolean allowed) { return this; }
    }
}
