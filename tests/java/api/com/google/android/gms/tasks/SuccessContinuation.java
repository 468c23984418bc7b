package com.google.android.gms.tasks;
public interface SuccessContinuation<T, C> { Task<C> then(T result) throws Exception; }
