/* The cluster map as a value: what makes one well-formed, what may follow what, and its wire form.
 *
 * The decoder is the border: it refuses whatever is not map_ok, so the cores assert on the maps
 * they hold and answer politely to none of them. */
#include "coherence/map.h"

#include <string.h>

#include "coherence/mutant.h"
#include "coherence/ts.h"
#include "coherence/wire.h"
#include "common/must.h"

/* ---- texts and addresses ---- */

static bool text_ok(const char field[MAP_TEXT_MAX])
{
    size_t n = wire_text_len(field, MAP_TEXT_MAX);
    if (n == 0 || n == MAP_TEXT_MAX) {
        return false;
    }
    for (size_t i = 0; i < MAP_TEXT_MAX; i++) {
        bool printable = field[i] > ' ' && field[i] < 0x7F;
        if (i < n ? !printable : field[i] != '\0') {
            return false;
        }
    }
    return true;
}

bool map_text_set(char field[MAP_TEXT_MAX], const char *text, size_t len)
{
    char made[MAP_TEXT_MAX] = {0};
    if (len == 0 || len >= sizeof made) {
        return false;
    }
    memcpy(made, text, len);
    if (wire_text_len(made, sizeof made) != len || !text_ok(made)) {
        return false;
    }
    memcpy(field, made, sizeof made);
    return true;
}

bool map_text_is(const char field[MAP_TEXT_MAX], const char *text)
{
    size_t n = wire_text_len(field, MAP_TEXT_MAX);
    return wire_text_len(text, MAP_TEXT_MAX) == n && memcmp(field, text, n) == 0;
}

bool map_same_address(const struct map_address *a, const struct map_address *b)
{
    return a->port == b->port && memcmp(a->host, b->host, sizeof a->host) == 0;
}

static bool address_ok(const struct map_address *a)
{
    return a->port != 0 && text_ok(a->host);
}

/* ---- what makes a map ---- */

static bool acceptors_ok(const struct member_map *m)
{
    if (m->acceptor_count != 1 && m->acceptor_count != 3 && m->acceptor_count != 5) {
        return false;
    }
    for (unsigned i = 0; i < m->acceptor_count; i++) {
        if (!address_ok(&m->acceptors[i])) {
            return false;
        }
        for (unsigned j = 0; j < i; j++) {
            if (map_same_address(&m->acceptors[i], &m->acceptors[j])) {
                return false;
            }
        }
    }
    return true;
}

static bool ranges_ok(const struct member_map *m)
{
    if (m->range_count > MAP_RANGES_MAX || (m->range_count == 0) != (m->group_count == 1)) {
        return false;
    }
    for (unsigned i = 0; i < m->range_count; i++) {
        const struct map_range *r = &m->ranges[i];
        bool ordered = i == 0 ? r->first == 0 : r->first > m->ranges[i - 1].first;
        if (!ordered || r->first >= MAP_SLOTS || r->group == MAP_PROXIES ||
            r->group >= m->group_count) {
            return false;
        }
    }
    return true;
}

static bool node_ok(const struct member_map *m, unsigned i)
{
    const struct map_node *n = &m->nodes[i];
    if (n->id == 0 || n->id >= m->next_id || (i > 0 && m->nodes[i - 1].id >= n->id) ||
        n->boot == 0 || n->group >= m->group_count || n->workers == 0 ||
        n->workers > MAP_WORKERS_MAX || !address_ok(&n->at) || n->peer_port == 0) {
        return false;
    }
    bool ports =
        n->at.port + n->workers - 1u <= UINT16_MAX && n->peer_port + n->workers - 1u <= UINT16_MAX;
    bool member = (n->flags & MAP_MEMBER) != 0;
    if (!ports || n->flags > (MAP_MEMBER | MAP_FOUNDER) ||
        (!member && ((n->flags & MAP_FOUNDER) != 0 || n->group == MAP_PROXIES))) {
        return false;
    }
    for (unsigned j = 0; j < i; j++) {
        if (m->nodes[j].boot == n->boot || map_same_address(&m->nodes[j].at, &n->at)) {
            return false;
        }
    }
    return true;
}

static unsigned nodes_of(const struct member_map *m, uint16_t group, bool members_only)
{
    unsigned count = 0;
    for (unsigned i = 0; i < m->node_count; i++) {
        count +=
            m->nodes[i].group == group && (!members_only || (m->nodes[i].flags & MAP_MEMBER) != 0);
    }
    return count;
}

unsigned map_members(const struct member_map *m, uint16_t group)
{
    return nodes_of(m, group, true);
}

static bool group_ok(const struct member_map *m, uint16_t g)
{
    const struct map_group *group = &m->groups[g];
    if (!text_ok(group->name) || map_text_is(group->name, MAP_PROXIES_NAME) != (g == MAP_PROXIES)) {
        return false;
    }
    for (uint16_t other = 0; other < g; other++) {
        if (memcmp(m->groups[other].name, group->name, sizeof group->name) == 0) {
            return false;
        }
    }
    unsigned all = nodes_of(m, g, false);
    unsigned members = nodes_of(m, g, true);
    if (all > VIEW_NODES_MAX || (all > 0 && (members == 0 || group->epoch == 0))) {
        return false;
    }
    return g == MAP_PROXIES ? !group->founded : group->founded == (members > 0);
}

bool map_ok(const struct member_map *m)
{
    if (!acceptors_ok(m) || m->group_count == 0 || m->group_count > MAP_GROUPS_MAX ||
        m->node_count > MAP_NODES_MAX || m->ordered_count > MAP_ORDERED_MAX || m->next_id == 0 ||
        m->next_id > TS_ID_MAX + 1 || !ranges_ok(m)) {
        return false;
    }
    for (unsigned i = 0; i < m->node_count; i++) {
        if (!node_ok(m, i)) {
            return false;
        }
    }
    for (uint16_t g = 0; g < m->group_count; g++) {
        if (!group_ok(m, g)) {
            return false;
        }
    }
    for (unsigned i = 0; i < m->ordered_count; i++) {
        if (m->ordered_out[i] == 0 || m->ordered_out[i] >= m->next_id) {
            return false;
        }
    }
    return true;
}

bool map_genesis_ok(const struct member_map *m)
{
    return map_ok(m) && m->version == 0 && m->node_count == 0 && m->ordered_count == 0;
}

/* ---- what may follow ---- */

static bool same_fixed_parts(const struct member_map *a, const struct member_map *b)
{
    bool same = a->acceptor_count == b->acceptor_count && a->group_count == b->group_count &&
                a->range_count == b->range_count;
    for (unsigned i = 0; same && i < a->acceptor_count; i++) {
        same = map_same_address(&a->acceptors[i], &b->acceptors[i]);
    }
    for (unsigned i = 0; same && i < a->group_count; i++) {
        same = memcmp(a->groups[i].name, b->groups[i].name, MAP_TEXT_MAX) == 0;
    }
    for (unsigned i = 0; same && i < a->range_count; i++) {
        same = a->ranges[i].first == b->ranges[i].first && a->ranges[i].group == b->ranges[i].group;
    }
    return same;
}

static bool same_node(const struct map_node *a, const struct map_node *b)
{
    return a->boot == b->boot && a->group == b->group && a->workers == b->workers &&
           a->peer_port == b->peer_port && map_same_address(&a->at, &b->at);
}

static bool group_changed(const struct member_map *base, const struct member_map *next, uint16_t g)
{
    for (unsigned i = 0; i < next->node_count; i++) {
        const struct map_node *n = &next->nodes[i];
        const struct map_node *was = map_by_id(base, n->id);
        if (n->group == g && (was == NULL || was->flags != n->flags)) {
            return true;
        }
    }
    return nodes_of(base, g, false) != nodes_of(next, g, false);
}

bool map_follows(const struct member_map *base, const struct member_map *next)
{
    bool id_twice = MUTANT(V4_ID_TWICE);
    if (next->version != base->version + 1 || (next->next_id < base->next_id && !id_twice) ||
        !same_fixed_parts(base, next)) {
        return false;
    }
    for (unsigned i = 0; i < next->node_count; i++) {
        const struct map_node *n = &next->nodes[i];
        const struct map_node *was = map_by_id(base, n->id);
        if (was == NULL ? n->id < base->next_id && !id_twice
                        : !same_node(was, n) || (was->flags & ~n->flags) != 0) {
            return false;
        }
    }
    for (uint16_t g = 0; g < next->group_count; g++) {
        uint64_t grown = group_changed(base, next, g) ? 1 : 0;
        if (next->groups[g].epoch != base->groups[g].epoch + grown) {
            return false;
        }
    }
    return true;
}

/* ---- looking things up ---- */

const struct map_node *map_by_id(const struct member_map *m, uint32_t id)
{
    for (unsigned i = 0; i < m->node_count; i++) {
        if (m->nodes[i].id == id) {
            return &m->nodes[i];
        }
    }
    return NULL;
}

const struct map_node *map_by_boot(const struct member_map *m, uint64_t boot)
{
    for (unsigned i = 0; i < m->node_count; i++) {
        if (m->nodes[i].boot == boot) {
            return &m->nodes[i];
        }
    }
    return NULL;
}

const struct map_node *map_by_address(const struct member_map *m, const struct map_address *at)
{
    for (unsigned i = 0; i < m->node_count; i++) {
        if (map_same_address(&m->nodes[i].at, at)) {
            return &m->nodes[i];
        }
    }
    return NULL;
}

uint16_t map_group_by_name(const struct member_map *m, const char *name)
{
    for (uint16_t g = 0; g < m->group_count; g++) {
        if (map_text_is(m->groups[g].name, name)) {
            return g;
        }
    }
    return MAP_NO_GROUP;
}

uint16_t map_slot_group(const struct member_map *m, unsigned slot)
{
    uint16_t group = MAP_NO_GROUP;
    for (unsigned i = 0; i < m->range_count && m->ranges[i].first <= slot; i++) {
        group = m->ranges[i].group;
    }
    return group;
}

bool map_view(const struct member_map *m, uint16_t group, struct view *v)
{
    struct view made = {.epoch = m->groups[group].epoch};
    for (unsigned pass = 0; pass < 2; pass++) { /* ids ascend in nodes[] */
        for (unsigned i = 0; i < m->node_count; i++) {
            const struct map_node *n = &m->nodes[i];
            if (n->group == group && ((n->flags & MAP_MEMBER) != 0) == (pass == 0)) {
                made.ids[view_count(&made)] = n->id;
                if (pass == 0) {
                    made.members++;
                } else {
                    made.learners++;
                }
            }
        }
    }
    if (made.members == 0) {
        return false;
    }
    must(view_ok(&made));
    *v = made;
    return true;
}

bool map_was_ordered_out(const struct member_map *m, uint32_t id)
{
    for (unsigned i = 0; i < m->ordered_count; i++) {
        if (m->ordered_out[i] == id) {
            return true;
        }
    }
    return false;
}

uint64_t map_cluster(const struct member_map *m)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (unsigned i = 0; i < m->acceptor_count; i++) {
        for (unsigned k = 0; k < MAP_TEXT_MAX; k++) {
            h = (h ^ (uint8_t)m->acceptors[i].host[k]) * UINT64_C(0x100000001B3);
        }
        h = (h ^ m->acceptors[i].port) * UINT64_C(0x100000001B3);
    }
    return h == 0 ? 1 : h;
}

/* ---- writers ---- */

void map_remove(struct member_map *m, unsigned position)
{
    must(position < m->node_count);
    m->node_count--;
    memmove(&m->nodes[position], &m->nodes[position + 1],
            (m->node_count - position) * sizeof m->nodes[0]);
    memset(&m->nodes[m->node_count], 0, sizeof m->nodes[0]);
}

struct map_node *map_add(struct member_map *m, uint16_t group)
{
    if (m->node_count == MAP_NODES_MAX || m->next_id > TS_ID_MAX ||
        nodes_of(m, group, false) >= VIEW_NODES_MAX) {
        return NULL;
    }
    struct map_node *n = &m->nodes[m->node_count++];
    memset(n, 0, sizeof *n);
    n->id = m->next_id++;
    n->group = group;
    return n;
}

/* ---- wire ---- */

static size_t text_size(const char *text)
{
    return 1 + wire_text_len(text, MAP_TEXT_MAX);
}

size_t map_size(const struct member_map *m)
{
    size_t size = 8 + 4 + 1 + 2 + 2 + 2 + 1;
    for (unsigned i = 0; i < m->acceptor_count; i++) {
        size += text_size(m->acceptors[i].host) + 2;
    }
    for (unsigned i = 0; i < m->group_count; i++) {
        size += text_size(m->groups[i].name) + 8 + 1;
    }
    for (unsigned i = 0; i < m->node_count; i++) {
        size += 8 + 4 + 2 + 2 + 2 + text_size(m->nodes[i].at.host) + 2 + 1;
    }
    return size + 4u * m->range_count + 4u * m->ordered_count;
}

_Static_assert(8 + 4 + 1 + 2 + 2 + 2 + 1 + MAP_ACCEPTORS_MAX * (MAP_TEXT_MAX + 2) +
                       MAP_GROUPS_MAX * (MAP_TEXT_MAX + 9) + MAP_NODES_MAX * (MAP_TEXT_MAX + 21) +
                       4 * MAP_RANGES_MAX + 4 * MAP_ORDERED_MAX <=
                   MAP_WIRE_MAX,
               "any map fits");

size_t map_encode(const struct member_map *m, uint8_t *bytes, size_t capacity)
{
    must(map_ok(m));
    struct wire_writer w = {bytes, capacity};
    wire_put(&w, m->version, 8);
    wire_put(&w, m->next_id, 4);
    wire_put(&w, m->acceptor_count, 1);
    wire_put(&w, m->group_count, 2);
    wire_put(&w, m->node_count, 2);
    wire_put(&w, m->range_count, 2);
    wire_put(&w, m->ordered_count, 1);
    for (unsigned i = 0; i < m->acceptor_count; i++) {
        wire_put_text(&w, m->acceptors[i].host, MAP_TEXT_MAX);
        wire_put(&w, m->acceptors[i].port, 2);
    }
    for (unsigned i = 0; i < m->group_count; i++) {
        wire_put_text(&w, m->groups[i].name, MAP_TEXT_MAX);
        wire_put(&w, m->groups[i].epoch, 8);
        wire_put(&w, m->groups[i].founded, 1);
    }
    for (unsigned i = 0; i < m->range_count; i++) {
        wire_put(&w, m->ranges[i].first, 2);
        wire_put(&w, m->ranges[i].group, 2);
    }
    for (unsigned i = 0; i < m->node_count; i++) {
        const struct map_node *n = &m->nodes[i];
        wire_put(&w, n->boot, 8);
        wire_put(&w, n->id, 4);
        wire_put(&w, n->group, 2);
        wire_put(&w, n->workers, 2);
        wire_put(&w, n->peer_port, 2);
        wire_put_text(&w, n->at.host, MAP_TEXT_MAX);
        wire_put(&w, n->at.port, 2);
        wire_put(&w, n->flags, 1);
    }
    for (unsigned i = 0; i < m->ordered_count; i++) {
        wire_put(&w, m->ordered_out[i], 4);
    }
    return capacity - w.left;
}

enum err map_decode(const uint8_t *bytes, size_t len, struct member_map *m)
{
    struct wire_reader r = {.p = bytes, .left = len};
    memset(m, 0, sizeof *m);
    m->version = wire_take(&r, 8);
    m->next_id = (uint32_t)wire_take(&r, 4);
    m->acceptor_count = (uint16_t)wire_take(&r, 1);
    m->group_count = (uint16_t)wire_take(&r, 2);
    m->node_count = (uint16_t)wire_take(&r, 2);
    m->range_count = (uint16_t)wire_take(&r, 2);
    m->ordered_count = (uint16_t)wire_take(&r, 1);
    if (r.bad || m->acceptor_count > MAP_ACCEPTORS_MAX || m->group_count > MAP_GROUPS_MAX ||
        m->node_count > MAP_NODES_MAX || m->range_count > MAP_RANGES_MAX ||
        m->ordered_count > MAP_ORDERED_MAX) {
        return ERR_PROTO;
    }
    bool ok = true;
    for (unsigned i = 0; i < m->acceptor_count; i++) {
        wire_take_text(&r, m->acceptors[i].host, MAP_TEXT_MAX);
        m->acceptors[i].port = (uint16_t)wire_take(&r, 2);
    }
    for (unsigned i = 0; i < m->group_count; i++) {
        wire_take_text(&r, m->groups[i].name, MAP_TEXT_MAX);
        m->groups[i].epoch = wire_take(&r, 8);
        uint64_t founded = wire_take(&r, 1);
        ok = ok && founded <= 1;
        m->groups[i].founded = founded == 1;
    }
    for (unsigned i = 0; i < m->range_count; i++) {
        m->ranges[i].first = (uint16_t)wire_take(&r, 2);
        m->ranges[i].group = (uint16_t)wire_take(&r, 2);
    }
    for (unsigned i = 0; i < m->node_count; i++) {
        struct map_node *n = &m->nodes[i];
        n->boot = wire_take(&r, 8);
        n->id = (uint32_t)wire_take(&r, 4);
        n->group = (uint16_t)wire_take(&r, 2);
        n->workers = (uint16_t)wire_take(&r, 2);
        n->peer_port = (uint16_t)wire_take(&r, 2);
        wire_take_text(&r, n->at.host, MAP_TEXT_MAX);
        n->at.port = (uint16_t)wire_take(&r, 2);
        n->flags = (uint8_t)wire_take(&r, 1);
    }
    for (unsigned i = 0; i < m->ordered_count; i++) {
        m->ordered_out[i] = (uint32_t)wire_take(&r, 4);
    }
    return ok && !r.bad && r.left == 0 && map_ok(m) ? OK : ERR_PROTO;
}
