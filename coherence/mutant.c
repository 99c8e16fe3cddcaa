/* The switch of the mutant build; nothing in the build that ships. */
#include "coherence/mutant.h"

#ifdef COH_MUTANTS
unsigned coh_mutant;
#else
extern int coh_no_mutants; /* an empty translation unit is not C */
#endif
