// Stands for TensorFlow Lite Micro: code, tables, strings that are merged with others, and variables.
namespace tflite {

int calls;
const char* name = "shared words";
static const int table[40] = {1, 2, 3};

int Invoke(int n) {
  calls += n;
  return table[n % 40] + name[n % 4] + "own words"[n % 7];
}

int Logistic(int n) {
  static int seen[8];
  seen[n & 7]++;
  return seen[0] + calls;
}

int Unused(int n) { return n * 77; }

}  // namespace tflite
