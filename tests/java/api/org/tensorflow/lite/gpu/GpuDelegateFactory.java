package org.tensorflow.lite.gpu;
public class GpuDelegateFactory implements org.tensorflow.lite.DelegateFactory { public GpuDelegateFactory() { } }
