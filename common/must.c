#include "common/must.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void must_fail(const char *file, int line, const char *expression)
{
    fprintf(stderr, "halcyon: bug at %s:%d: %s does not hold\n", file, line, expression);
    abort();
}
