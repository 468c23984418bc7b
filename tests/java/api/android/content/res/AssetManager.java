package android.content.res;
import java.io.*;
import java.nio.*;
import java.util.zip.*;
public final class AssetManager {
    private final String apk;
    public AssetManager(String apk) { this.apk = apk; }
    public InputStream open(String name) throws IOException {
        try (ZipFile zip = new ZipFile(apk)) {
            ByteArrayOutputStream made = new ByteArrayOutputStream();
            try (InputStream stream = zip.getInputStream(entry(zip, name))) {
                for (int next = stream.read(); next >= 0; next = stream.read()) { made.write(next); }
            }
            return new ByteArrayInputStream(made.toByteArray());
        }
    }
    public AssetFileDescriptor openFd(String name) throws IOException {
        long length;
        try (ZipFile zip = new ZipFile(apk)) {
            ZipEntry entry = entry(zip, name);
            if (entry.getMethod() != ZipEntry.STORED) { throw new FileNotFoundException(name + ": it is probably compressed"); }
            length = entry.getSize();
        }
        RandomAccessFile file = new RandomAccessFile(apk, "r");
        return new AssetFileDescriptor(file, start(file, "assets/" + name), length);
    }
    private static ZipEntry entry(ZipFile zip, String name) throws IOException {
        ZipEntry entry = zip.getEntry("assets/" + name);
        if (entry == null) { throw new FileNotFoundException(name); }
        return entry;
    }
    private static long start(RandomAccessFile file, String name) throws IOException {
        ByteBuffer all = file.getChannel().map(java.nio.channels.FileChannel.MapMode.READ_ONLY, 0, file.length());
        all.order(ByteOrder.LITTLE_ENDIAN);
        for (int place = 0; place + 30 < all.limit(); place++) {
            if (all.getInt(place) == 0x04034b50 && name.equals(text(all, place + 30, all.getShort(place + 26)))) {
                return place + 30 + all.getShort(place + 26) + all.getShort(place + 28);
            }
        }
        throw new FileNotFoundException(name);
    }
    private static String text(ByteBuffer all, int place, int length) {
        byte[] bytes = new byte[Math.max(0, Math.min(length, all.limit() - place))];
        for (int index = 0; index < bytes.length; index++) { bytes[index] = all.get(place + index); }
        return new String(bytes, java.nio.charset.StandardCharsets.UTF_8);
    }
}
