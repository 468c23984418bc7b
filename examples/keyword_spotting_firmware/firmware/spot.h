/* The model: from features to a word. spot.cc has it in TensorFlow Lite Micro. */
#ifndef SPOT_H
#define SPOT_H

#include <stdint.h>

#include "keyword.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Loads the model, and holds it against its golden vectors: 0 if it computes what it should. */
int spot_start(void);

/* Scores of the words; 0 if all went well. */
int spot_run(const int8_t features[KEYWORD_INPUT_0_ELEMENTS], int8_t scores[KEYWORD_OUTPUT_0_ELEMENTS]);

#ifdef __cplusplus
}
#endif

#endif
