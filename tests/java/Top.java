import org.edgekit.pets.PetsProcessing;

import java.io.FileInputStream;
import java.io.PrintStream;
import java.util.List;

/** The best labels of fixed scores: three of them, all of them, and by a file that does not fit. */
public final class Top {
    private static final float[] SCORES = {0.25f, 0.5f, 0.125f, 0.5f};

    public static void main(String[] files) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        List<String> labels = PetsProcessing.labels(new FileInputStream(files[0]));
        out.println(PetsProcessing.top(SCORES, labels, 3));
        out.println(PetsProcessing.top(SCORES, labels, 99));
        try {
            PetsProcessing.labels(new FileInputStream(files[1]));
        } catch (IllegalStateException cause) {
            out.println(cause.getMessage());
        }
    }
}
