#ifndef RDMA_MEM_H
#define RDMA_MEM_H

#include <stdbool.h>
#include <stdint.h>

/* A network inside one process, for tests: transports of kind TRANSPORT_MEM find each other by port
 * number. They may live on one loop or on loops of different threads. The functions here may be
 * called from any thread; the net outlives its transports. */
struct mem_net;

struct mem_net *mem_net_new(void);
void mem_net_free(struct mem_net *net);

/* A partition between two ports: connections between them end at once on both sides, calls fail
 * until it is healed. */
void mem_net_cut(struct mem_net *net, uint16_t a, uint16_t b, bool cut);

#endif
