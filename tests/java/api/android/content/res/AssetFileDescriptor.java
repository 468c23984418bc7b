package android.content.res;
public class AssetFileDescriptor implements java.io.Closeable {
    private final java.io.RandomAccessFile file;
    private final long start, length;
    public AssetFileDescriptor(java.io.RandomAccessFile file, long start, long length) {
        this.file = file; this.start = start; this.length = length;
    }
    public java.io.FileDescriptor getFileDescriptor() {
        try { return file.getFD(); } catch (java.io.IOException cause) { throw new IllegalStateException(cause); }
    }
    public long getStartOffset() { return start; }
    public long getDeclaredLength() { return length; }
    @Override public void close() throws java.io.IOException { file.close(); }
}
