#include "frontend.h"

#include <string.h>

#include "frontend_tables.h"

#define HALF (FRONTEND_WINDOW / 2)

/* Shifting a negative number right keeps its sign here, as in numpy: the compiler that does not is refused. */
typedef char arithmetic_shift[(-1 >> 1) == -1 ? 1 : -1];

static int32_t rounded(int64_t product, int bits) {
  return (int32_t)((product + ((int64_t)1 << (bits - 1))) >> bits);
}

static void spectrum(int32_t real[FRONTEND_WINDOW], int32_t imaginary[FRONTEND_WINDOW]) {
  for (int half = 1; half < FRONTEND_WINDOW; half *= 2) {
    for (int start = 0; start < FRONTEND_WINDOW; start += 2 * half) {
      for (int place = start; place < start + half; ++place) {
        const int64_t c = cosine[(place - start) * (HALF / half)], s = sine[(place - start) * (HALF / half)];
        const int64_t x = real[place + half], y = imaginary[place + half];
        const int32_t e = rounded(x * c + y * s, 15), f = rounded(y * c - x * s, 15);
        real[place + half] = real[place] - e;
        imaginary[place + half] = imaginary[place] - f;
        real[place] += e;
        imaginary[place] += f;
      }
    }
  }
}

static int16_t logarithm(int64_t energy) {
  int octave = 0;
  if (energy < 1) {
    energy = 1;
  }
  while (energy >> octave > 1) {
    ++octave;
  }
  const int64_t mantissa = octave > 7 ? energy >> (octave - 7) : energy << (7 - octave);
  return (int16_t)(octave * FRONTEND_STEPS + log2_steps[mantissa - 128]);
}

void frontend_levels(const int16_t samples[FRONTEND_WINDOW], int16_t levels[FRONTEND_BANDS]) {
  int32_t real[FRONTEND_WINDOW], imaginary[FRONTEND_WINDOW] = {0};
  for (int place = 0; place < FRONTEND_WINDOW; ++place) {
    real[place] = rounded((int64_t)samples[order[place]] * hann[order[place]], 15 - FRONTEND_SPARE);
  }
  spectrum(real, imaginary);
  const uint16_t *weight = band_weights;
  for (int band = 0; band < FRONTEND_BANDS; ++band) {
    int64_t energy = 0;
    for (int bin = band_first[band]; bin < band_first[band] + band_bins[band]; ++bin, ++weight) {
      energy += ((int64_t)real[bin] * real[bin] + (int64_t)imaginary[bin] * imaginary[bin]) * *weight;
    }
    levels[band] = logarithm(energy);
  }
}

int frontend_hear(frontend_t *frontend, const int16_t hop[FRONTEND_HOP]) {
  memmove(frontend->samples, frontend->samples + FRONTEND_HOP, sizeof(int16_t) * (FRONTEND_WINDOW - FRONTEND_HOP));
  memcpy(frontend->samples + FRONTEND_WINDOW - FRONTEND_HOP, hop, sizeof(int16_t) * FRONTEND_HOP);
  frontend_levels(frontend->samples, frontend->levels[frontend->next]);
  frontend->next = (frontend->next + 1) % FRONTEND_FRAMES;
  frontend->heard += frontend->heard <= FRONTEND_FRAMES; /* the first hop has no window yet: frames are one fewer */
  return frontend->heard > FRONTEND_FRAMES;
}

void frontend_features(const frontend_t *frontend, int8_t features[FRONTEND_FRAMES * FRONTEND_BANDS]) {
  int16_t loudest = 0;
  for (int place = 0; place < FRONTEND_FRAMES * FRONTEND_BANDS; ++place) {
    const int16_t level = frontend->levels[place / FRONTEND_BANDS][place % FRONTEND_BANDS];
    loudest = level > loudest ? level : loudest;
  }
  for (int place = 0; place < FRONTEND_FRAMES * FRONTEND_BANDS; ++place) {
    const int frame = (frontend->next + place / FRONTEND_BANDS) % FRONTEND_FRAMES;
    const int below = frontend->levels[frame][place % FRONTEND_BANDS] - loudest + 127;
    features[place] = (int8_t)(below > -128 ? below : -128);
  }
}
