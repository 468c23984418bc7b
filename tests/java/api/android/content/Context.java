package android.content;
public class Context {
    private final android.content.res.AssetManager assets;
    public Context(android.content.res.AssetManager assets) { this.assets = assets; }
    public android.content.res.AssetManager getAssets() { return assets; }
}
