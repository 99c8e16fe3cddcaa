#ifndef BACKENDS_MEMBER_BUILTIN_H
#define BACKENDS_MEMBER_BUILTIN_H

#include "backends/member/provider.h"
#include "backends/member/settings.h"
#include "backends/member/uplink.h"

/* The builtin membership service: provider.h over connections to acceptors (acceptor.h). */

struct member_params member_params_of(const struct member_settings *set);
struct greeting greeting_of(const struct member_settings *set, const struct member_map *genesis);

/* Dials the acceptors; follows the map from then on. set, genesis: read during the call only.
 * events, arg: borrowed for its life. */
struct member_provider *builtin_new(struct loop *l, const struct member_settings *set,
                                    const struct member_map *genesis,
                                    const struct member_events *events, void *arg);

#define STATUS_MAX (16u + 8u * MAP_NODES_MAX)
size_t status_encode(const struct acceptor_status *s, uint8_t bytes[STATUS_MAX]);
enum err status_decode(struct span bytes, struct acceptor_status *out) must_use;

#endif
