/* Views as commands say them. */
#include "rdma/viewspec.h"

#include <string.h>

#include "coherence/ts.h"
#include "common/num.h"

/* id@host:port */
static bool parse_node(struct span s, struct view_spec *p, bool learner)
{
    const char *at = s.len != 0 ? memchr(s.p, '@', s.len) : NULL;
    const char *colon = at != NULL ? memrchr(at, ':', s.len - (size_t)(at - s.p)) : NULL;
    unsigned *count = learner ? &p->learner_count : &p->member_count;
    if (colon == NULL || *count == VIEW_NODES_MAX) {
        return false;
    }
    int64_t id = 0;
    int64_t port = 0;
    size_t host_len = (size_t)(colon - at - 1);
    if (!num_parse_i64(span_of(s.p, (size_t)(at - s.p)), &id) || id < 1 || id > TS_ID_MAX ||
        host_len == 0 || host_len >= VIEW_SPEC_HOST_MAX ||
        !num_parse_i64(span_of(colon + 1, s.len - (size_t)(colon + 1 - s.p)), &port) || port < 1 ||
        port > 65535) {
        return false;
    }
    (learner ? p->learners : p->members)[(*count)++] = (uint32_t)id;
    memcpy(p->hosts[p->peer_count], at + 1, host_len);
    p->hosts[p->peer_count][host_len] = '\0';
    p->peers[p->peer_count] =
        (struct transport_peer){(uint32_t)id, p->hosts[p->peer_count], (uint16_t)port};
    p->peer_count++;
    return true;
}

bool view_spec_parse(const struct span *argv, int argc, struct view_spec *p)
{
    int64_t epoch = 0;
    int64_t self = 0;
    bool learner = false;
    memset(p, 0, sizeof *p);
    if (argc < 7 || !num_parse_i64(argv[2], &epoch) || epoch < 1 || !span_is(argv[3], "self") ||
        !num_parse_i64(argv[4], &self) || self < 1 || self > TS_ID_MAX ||
        !span_is(argv[5], "members")) {
        return false;
    }
    for (int i = 6; i < argc; i++) {
        if (span_is(argv[i], "learners")) {
            learner = true;
        } else if (span_is(argv[i], "founder")) {
            p->founder = true;
        } else if (!parse_node(argv[i], p, learner)) {
            return false;
        }
    }
    p->self = (uint32_t)self;
    return view_make(&p->view, (uint64_t)epoch, p->members, p->member_count, p->learners,
                     p->learner_count);
}
