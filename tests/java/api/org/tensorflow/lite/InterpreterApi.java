package org.tensorflow.lite;
import java.io.*;
import java.nio.ByteBuffer;
import java.util.Map;
public interface InterpreterApi extends AutoCloseable {
    class Options {
        public enum TfLiteRuntime { FROM_APPLICATION_ONLY, FROM_SYSTEM_ONLY, PREFER_SYSTEM_OVER_APPLICATION }
        private boolean gpu;
        private boolean xnnpack = true;
        public Options setRuntime(TfLiteRuntime runtime) { return this; }
        public Options setUseXNNPACK(boolean xnnpack) { this.xnnpack = xnnpack; return this; }
        public Options addDelegateFactory(DelegateFactory factory) { gpu = true; return this; }
    }
    static InterpreterApi create(ByteBuffer model, Options options) {
        if (options.gpu && "refuses".equals(System.getProperty("gpu"))) {
            throw new IllegalArgumentException("Internal error: Error applying delegate");
        }
        return new InPython(model, options.xnnpack);
    }
    void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs);
    @Override void close();

    final class InPython implements InterpreterApi {
        private final Process child;
        private final DataOutputStream into;
        private final DataInputStream from;
        InPython(ByteBuffer model, boolean xnnpack) {
            try {
                child = new ProcessBuilder(System.getProperty("python"), System.getProperty("child"), xnnpack ? "xnnpack" : "plain")
                    .redirectError(ProcessBuilder.Redirect.INHERIT).start();
                into = new DataOutputStream(new BufferedOutputStream(child.getOutputStream()));
                from = new DataInputStream(new BufferedInputStream(child.getInputStream()));
                send(model);
            } catch (IOException cause) { throw new IllegalStateException(cause); }
        }
        private void send(ByteBuffer buffer) throws IOException {
            if (!buffer.isDirect() || buffer.position() != 0) { throw new IllegalArgumentException("not at the start"); }
            byte[] bytes = new byte[buffer.remaining()];
            buffer.duplicate().get(bytes);
            into.writeInt(bytes.length);
            into.write(bytes);
            into.flush();
        }
        @Override public void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs) {
            try {
                for (Object input : inputs) { send((ByteBuffer) input); }
                for (int place = 0; place < outputs.size(); place++) {
                    byte[] bytes = new byte[from.readInt()];
                    from.readFully(bytes);
                    ((ByteBuffer) outputs.get(place)).put(bytes);
                }
            } catch (IOException cause) { throw new IllegalArgumentException(cause); }
        }
        @Override public void close() {
            try { into.close(); child.waitFor(); } catch (IOException | InterruptedException cause) { throw new IllegalStateException(cause); }
        }
    }
}
