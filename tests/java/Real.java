import java.io.File;

/** Runs the self-test of every package of a folder. */
public final class Real {
    public static void main(String[] words) throws Exception {
        File root = new File(words[0]);
BODY
    }
}
