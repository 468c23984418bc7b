import org.edgekit.pets.PetsFiles;
import org.edgekit.pets.PetsModel;

import java.io.File;
import java.io.FileNotFoundException;
import java.nio.ByteBuffer;
import java.util.Arrays;

import android.content.Context;
import android.content.res.AssetManager;

/** An app that opens the model of an APK, or of the folder of a pack, tests it, and runs one sample, and none. */
public final class App {
    public static void main(String[] words) throws Exception {
        float[] sample = {1, 2, 3, 4};
        try (PetsModel model = open(words[0])) {
            System.out.println(model.variant().file + " on " + model.unit());
            System.out.println(model.selfTest().passed());
            System.out.println(Arrays.toString(model.run(sample)[0]));
            System.out.println(model.classify(sample, 2));
            model.invoke(new ByteBuffer[0]);
        } catch (FileNotFoundException | IllegalArgumentException cause) {
            System.out.println(cause.getMessage());
        }
    }

    private static PetsModel open(String place) throws Exception {
        File file = new File(place);
        if (file.isDirectory()) {
            return PetsModel.open(new PetsFiles.Folder(file));
        }
        return PetsModel.open(new Context(new AssetManager(place)));
    }
}
