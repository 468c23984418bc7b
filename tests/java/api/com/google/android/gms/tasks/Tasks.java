package com.google.android.gms.tasks;
public final class Tasks { public static <T> T await(Task<T> task) throws InterruptedException { return null; } }
