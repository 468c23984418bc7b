import android.content.Context;
import android.content.res.AssetManager;
import java.awt.image.BufferedImage;
import java.io.File;
import javax.imageio.ImageIO;

/** The recognizer of the example in an app: the APK, then gray images. */
public final class Recognize {
    public static void main(String[] words) throws Exception {
        try (Recognizer recognizer = new Recognizer(new Context(new AssetManager(words[0])))) {
            for (int place = 1; place < words.length; place++) {
                System.out.println(recognizer.best(pixels(ImageIO.read(new File(words[place])))).name);
            }
        }
    }

    /** As Android's Bitmap has them; getRGB of a gray image would change its gamma here. */
    private static int[] pixels(BufferedImage image) {
        int[] pixels = image.getRaster().getSamples(0, 0, image.getWidth(), image.getHeight(), 0, (int[]) null);
        for (int place = 0; place < pixels.length; place++) {
            pixels[place] = 0xff000000 | pixels[place] * 0x10101;
        }
        return pixels;
    }
}
