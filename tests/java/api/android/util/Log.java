package android.util;
public final class Log {
    public static int w(String tag, String text, Throwable cause) { System.err.println(tag + ": " + text); return 0; }
}
