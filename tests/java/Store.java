import java.io.*;
import java.nio.*;
import java.nio.file.*;
public final class Store {
    private static ByteBuffer read(String folder, String name) throws IOException {
        return ByteBuffer.wrap(Files.readAllBytes(Paths.get(folder, name))).order(ByteOrder.LITTLE_ENDIAN);
    }
    private static float[] floats(ByteBuffer from) {
        float[] found = new float[from.remaining() / 4];
        from.asFloatBuffer().get(found);
        return found;
    }
    private static long[] longs(ByteBuffer from) {
        long[] found = new long[from.remaining() / 8];
        from.asLongBuffer().get(found);
        return found;
    }
    private static void write(String folder, String name, ByteBuffer from) throws IOException {
        byte[] bytes = new byte[from.remaining()];
        from.get(bytes);
        Files.write(Paths.get(folder, name), bytes);
    }
    private static ByteBuffer bytes(float[] values) {
        ByteBuffer made = ByteBuffer.allocate(values.length * 4).order(ByteOrder.LITTLE_ENDIAN);
        made.asFloatBuffer().put(values);
        return made;
    }
    private static ByteBuffer bytes(long[] values) {
        ByteBuffer made = ByteBuffer.allocate(values.length * 8).order(ByteOrder.LITTLE_ENDIAN);
        made.asLongBuffer().put(values);
        return made;
    }
    public static void main(String[] folders) throws IOException {
        String folder = folders[0];
BODY
    }
}
