/* halcyon-node or halcyon-proxy (DAEMON_MAIN) with one known-wrong line (coherence/mutant.h), named
 * by HALCYON_MUTANT: what tests with recorded histories must find. Without the variable it is the
 * ordinary daemon. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/node/node.h"
#include "coherence/mutant.h"
#include "proxy/proxy.h"

int main(int argc, char **argv)
{
    static const char *const names[] = {[COH_NO_MUTANT] = "NONE",
#define X(name) [COH_##name] = #name,
                                        COH_MUTANT_TABLE(X)
#undef X
    };
    const char *wanted =
        getenv("HALCYON_MUTANT"); /* NOLINT(concurrency-mt-unsafe): no threads yet */
    for (unsigned i = 0; wanted != NULL && i < COH_MUTANT_COUNT; i++) {
        if (strcmp(names[i], wanted) == 0) {
            coh_mutant = i;
            return DAEMON_MAIN(argc, argv);
        }
    }
    if (wanted != NULL) {
        fprintf(stderr, "no mutant is called %s\n", wanted);
        return 2;
    }
    return DAEMON_MAIN(argc, argv);
}
