#ifndef BACKENDS_MEMBER_ETCD_H
#define BACKENDS_MEMBER_ETCD_H

#include "backends/member/provider.h"
#include "backends/member/settings.h"

/* Membership with etcd (3.4 or newer) as the register: provider.h over etcd_kv.h (RELIABILITY 5.2,
 * "External register").
 *
 * Under /halcyon/<cluster-name>/ there are
 *     map           the cluster map (coherence/map.h)
 *     lease/<id>    rewritten by process <id> as long as it lives
 *     leave/<id>    an operator's wish that it goes: "leave" or "force"
 *     spare/<host>:<port>  a process that waits to be told its group
 *     place/<host>:<port>  the group an operator gave it
 *
 * Every decision is a transaction that compares the revision of the map with the one it was made
 * for: renewing a lease, and every change of the map. Leaving x out compares the revision of
 * lease/x too, which must not have moved for D(1+rho) on the clock of who wants it out. Reads only
 * tell what to try. etcd's own leases and watches are not used. */

/* Dials the endpoints and follows the map from then on. set, genesis: read during the call; genesis
 * has the groups and slots of the configuration. events, arg: borrowed for its life. */
struct member_provider *etcd_provider_new(struct loop *l, const struct member_settings *set,
                                          const struct member_map *genesis,
                                          const struct member_events *events, void *arg);

#endif
