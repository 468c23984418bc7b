/* From sound to what the model takes, in integers; every step is that of frontend.py, which says what it is. */
#ifndef FRONTEND_H
#define FRONTEND_H

#include <stdint.h>

#include "frontend_sizes.h"

/* Logarithms of the energy of each band of one window. Needs 2 KiB of stack. */
void frontend_levels(const int16_t samples[FRONTEND_WINDOW], int16_t levels[FRONTEND_BANDS]);

/* What was heard last: two hops of samples, and the levels of each frame in a ring. All zeros is silence. */
typedef struct {
  int16_t samples[FRONTEND_WINDOW];
  int16_t levels[FRONTEND_FRAMES][FRONTEND_BANDS];
  int next;  /* frame of the ring that is written next */
  int heard; /* hops, up to a clip of them */
} frontend_t;

/* Takes one more hop of samples: an interrupt's buffer, say. Gives 1 when a whole clip has been heard, and from then on. */
int frontend_hear(frontend_t *frontend, const int16_t hop[FRONTEND_HOP]);

/* The model's input: the last FRONTEND_FRAMES frames, the oldest first. */
void frontend_features(const frontend_t *frontend, int8_t features[FRONTEND_FRAMES * FRONTEND_BANDS]);

#endif
