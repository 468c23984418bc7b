package com.google.android.play.core.aipacks;
public interface AiPackManager { AiPackLocation getPackLocation(String pack); }
