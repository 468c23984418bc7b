import android.content.Context;
import java.io.IOException;
import org.edgekit.classifier.ClassifierModel;
import org.edgekit.classifier.ClassifierProcessing.Label;

/** Says what an image shows. Open one away from the main thread and keep it: opening costs more than running. */
final class Recognizer implements AutoCloseable {
    private final ClassifierModel model;

    Recognizer(Context context) throws IOException {
        model = ClassifierModel.open(context);
    }

    /** The best class for 32x32 pixels, as Bitmap.getPixels gives them. */
    Label best(int[] pixels) {
        float[] gray = new float[pixels.length];
        for (int place = 0; place < pixels.length; place++) {
            int red = pixels[place] >> 16 & 255;
            int green = pixels[place] >> 8 & 255;
            int blue = pixels[place] & 255;
            gray[place] = 0.299f * red + 0.587f * green + 0.114f * blue;
        }
        return model.classify(gray, 1).get(0);
    }

    @Override
    public void close() {
        model.close();
    }
}
