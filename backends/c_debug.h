// Checks of debug builds: what the first one that fails was about is kept for the caller.

//= us_note
// The first failed check of a call: numbers (an index and the size of its axis; or a result and its operands), then places (the indices of the
// loops around, then those of the element).
static double us_noted_numbers[8];
static int64_t us_noted_places[64];
__attribute__((visibility("default"))) const double *us_noted_at_numbers(void) { return us_noted_numbers; }
__attribute__((visibility("default"))) const int64_t *us_noted_at_places(void) { return us_noted_places; }
static __attribute__((noinline)) void us_note(
    int *failed, int number, int count, const double *numbers, int depth, const int64_t *places) {
  if (*failed != 0) return;
  *failed = number;
  for (int i = 0; i < count && i < 8; i++) us_noted_numbers[i] = numbers[i];
  for (int i = 0; i < depth && i < 64; i++) us_noted_places[i] = places[i];
}
