/* The firmware on a computer: clips of 16-bit samples on standard input.
 *
 * Without TensorFlow Lite Micro the features of each go to standard output, for whoever runs the model; with it, a word
 * a line. On a board frontend_hear() gets the buffers of the microphone, and is asked for features a few times a second.
 */
#include <stdio.h>
#include <string.h>

#include "frontend.h"
#include "spot.h"

/* The features are the model's own int8 numbers: one step is one, and 0 is 0. */
static int matched(void) {
  return KEYWORD_INPUT_0_SCALE == 1.0f && KEYWORD_INPUT_0_ZERO_POINT == 0 &&
         KEYWORD_INPUT_0_ELEMENTS == FRONTEND_FRAMES * FRONTEND_BANDS;
}

#ifdef WITH_TFLM

static int begin(void) { return spot_start(); }

static int tell(const int8_t features[KEYWORD_INPUT_0_ELEMENTS]) {
  int8_t scores[KEYWORD_OUTPUT_0_ELEMENTS];
  unsigned best = 0;
  if (spot_run(features, scores) != 0) {
    return 1;
  }
  for (unsigned word = 1; word < KEYWORD_OUTPUT_0_ELEMENTS; ++word) {
    best = scores[word] > scores[best] ? word : best;
  }
  puts(keyword_labels[best]);
  return 0;
}

#else

static int begin(void) { return 0; }

static int tell(const int8_t features[KEYWORD_INPUT_0_ELEMENTS]) {
  return fwrite(features, KEYWORD_INPUT_0_ELEMENTS, 1, stdout) != 1;
}

#endif

int main(void) {
  static frontend_t frontend;
  int16_t hop[FRONTEND_HOP];
  int8_t features[FRONTEND_FRAMES * FRONTEND_BANDS];
  if (!matched() || begin() != 0) {
    fputs("the model takes other features, or does not compute what it should\n", stderr);
    return 1;
  }
  while (fread(hop, sizeof hop, 1, stdin) == 1) {
    if (frontend_hear(&frontend, hop)) {
      frontend_features(&frontend, features);
      memset(&frontend, 0, sizeof frontend);
      if (tell(features) != 0) {
        return 1;
      }
    }
  }
  return 0;
}
