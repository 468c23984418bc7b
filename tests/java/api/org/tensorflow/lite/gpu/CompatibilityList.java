package org.tensorflow.lite.gpu;
public class CompatibilityList implements java.io.Closeable {
    public CompatibilityList() { }
    public boolean isDelegateSupportedOnThisDevice() { return System.getProperty("gpu") != null; }
    @Override public void close() { }
}
