package com.google.android.play.core.aipacks;
public class AiPackManagerFactory { public static AiPackManager getInstance(android.content.Context context) { return null; } }
