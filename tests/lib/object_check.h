#ifndef TESTS_LIB_OBJECT_CHECK_H
#define TESTS_LIB_OBJECT_CHECK_H

#include <stdint.h>

#include "backends/types/object.h"

/* What must hold for an object of any collection type, whatever is in it: copies and dumps are
 * equal to it, cut and changed dumps are refused or give a sound object, memory is counted, freeing
 * goes in slices. Aborts with a message if not. */
void object_check(enum val_type type, const void *object);

/* xorshift64 for tests: repeatable. */
uint64_t test_random(void);

#endif
