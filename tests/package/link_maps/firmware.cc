// Stands for an application: an arena, a resolver, data of all kinds, and calls into the model and the library.
#include <cstdint>

#include "curve.h"
#include "curve_selftest.h"

namespace tflite {
int Invoke(int);
int Logistic(int);
template <unsigned N>
class MicroMutableOpResolver {
 public:
  int ops[N];
};
}  // namespace tflite

using curve_resolver = tflite::MicroMutableOpResolver<3>;
alignas(16) static uint8_t arena[CURVE_ARENA_BYTES];
static curve_resolver resolver;
__attribute__((section(".noinit"))) int boots;
int initialised[5] = {1, 2, 3, 4, 5};
int a_name_that_is_so_long_that_the_linker_goes_on_in_the_next_line = 9;
int zeroed[3];
const char* const words[] = {"shared words", "words", "own"};

static int invoke(const void* const inputs[], const void* outputs[]) {
  outputs[0] = arena;
  return inputs[0] == nullptr;
}

extern "C" int run_model(int turn) {
  resolver.ops[1] += curve_data[turn];
  arena[5]++;
  boots++;
  zeroed[1]++;
  return tflite::Invoke(initialised[turn] + words[turn][0]) + curve_selftest(invoke) +
         tflite::Logistic(a_name_that_is_so_long_that_the_linker_goes_on_in_the_next_line);
}

extern "C" int main() {
  for (int turn = 0;; ++turn) {
    run_model(turn);
  }
}
extern "C" void Reset() { main(); }
__attribute__((section(".isr_vector"), used)) static void (*const vectors[16])() = {Reset};
