/* The simulator driven by a fuzzer, one program per world: the input is the choices. Coverage of
 * the cores guides it. An input that aborts is run again with `sim --bytes FILE`. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim.h"
#include "tests/sim/world_cluster.h"
#include "tests/sim/world_galene.h"
#include "tests/sim/world_hermes.h"
#include "tests/sim/world_member.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct sim *s = sim_new(&SIM_FUZZ_WORLD);
    chooser_init_bytes(&s->choose, bytes, n);
    if (!sim_run(s)) {
        fprintf(stderr, "%s\n", s->failure);
        abort();
    }
    chooser_deinit(&s->choose);
    sim_free(s);
    return 0;
}
