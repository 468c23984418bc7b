import org.edgekit.pets.*;
import java.io.File;
import java.nio.*;
public final class SelfTest {
    public static void main(String[] words) throws Exception {
        PetsFiles files = new PetsFiles.Folder(new File(words[0]));
        PetsProcessing.Variant variant = PetsProcessing.VARIANTS.get(0);
        for (int place = 1; place < words.length; place++) {
            float off = Float.parseFloat(words[place]);
            int[] calls = {0};
            PetsSelfTest.Report report = PetsSelfTest.run(variant, files, inputs -> {
                ByteBuffer output = files.map(variant.golden + "/sample" + calls[0]++ + "/output0.bin");
                ByteBuffer changed = variant.outputs.get(0).buffer();
                ByteBuffer from = output.order(ByteOrder.nativeOrder());
                while (from.hasRemaining()) {
                    float real = from.getFloat();
                    changed.putFloat(calls[0] == variant.samples && !from.hasRemaining() ? real + off : real);
                }
                changed.rewind();
                return new ByteBuffer[] {changed};
            });
            System.out.println(report.passed() + " " + calls[0] + " " + report);
        }
    }
}
