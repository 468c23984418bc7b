package com.google.android.play.core.assetpacks;
public class AssetPackManagerFactory { public static AssetPackManager getInstance(android.content.Context context) { return null; } }
