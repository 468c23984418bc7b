package org.tensorflow.lite;
public interface DelegateFactory { }
