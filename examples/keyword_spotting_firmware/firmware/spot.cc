#include "spot.h"

#include <cstring>

#include "keyword_ops.h"
#include "keyword_selftest.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

alignas(16) uint8_t arena[KEYWORD_ARENA_BYTES];
tflite::MicroInterpreter* interpreter;

int Invoke(const void* const inputs[], const void* outputs[]) {
  std::memcpy(interpreter->input(0)->data.raw, inputs[0], KEYWORD_INPUT_0_ELEMENTS);
  if (interpreter->Invoke() != kTfLiteOk) {
    return 1;
  }
  outputs[0] = interpreter->output(0)->data.raw;
  return 0;
}

}  // namespace

int spot_start(void) {
  static keyword_resolver resolver;
  if (keyword_register_ops(resolver) != kTfLiteOk) {
    return -1;
  }
  static tflite::MicroInterpreter made(tflite::GetModel(keyword_data), resolver, arena, sizeof(arena));
  interpreter = &made;
  return made.AllocateTensors() == kTfLiteOk ? keyword_selftest(Invoke) : -1;
}

int spot_run(const int8_t features[KEYWORD_INPUT_0_ELEMENTS], int8_t scores[KEYWORD_OUTPUT_0_ELEMENTS]) {
  const void* const inputs[] = {features};
  const void* outputs[] = {nullptr};
  if (Invoke(inputs, outputs) != 0) {
    return 1;
  }
  std::memcpy(scores, outputs[0], KEYWORD_OUTPUT_0_ELEMENTS);
  return 0;
}
