/* What an acceptor keeps on disk, as bytes. */
#include <string.h>

#include "coherence/member.h"
#include "coherence/wire.h"
#include "common/must.h"

size_t member_state_encode(const struct member_state *st, uint8_t *bytes, size_t capacity)
{
    struct wire_writer w = {bytes, capacity};
    wire_put(&w, st->promised, 8);
    wire_put(&w, st->accepted, 8);
    size_t base = map_size(&st->base);
    wire_put(&w, base, 4);
    size_t at = capacity - w.left;
    at += map_encode(&st->base, bytes + at, capacity - at);
    if (st->accepted != 0) {
        must(map_follows(&st->base, &st->value));
        at += map_encode(&st->value, bytes + at, capacity - at);
    }
    return at;
}

enum err member_state_decode(const uint8_t *bytes, size_t len, struct member_state *st)
{
    struct wire_reader r = {.p = bytes, .left = len};
    memset(st, 0, sizeof *st);
    st->promised = wire_take(&r, 8);
    st->accepted = wire_take(&r, 8);
    size_t base = (size_t)wire_take(&r, 4);
    if (r.bad || base > r.left || st->accepted > st->promised ||
        map_decode(r.p, base, &st->base) != OK) {
        return ERR_CORRUPT;
    }
    r.p += base;
    r.left -= base;
    if (st->accepted == 0) {
        return r.left == 0 ? OK : ERR_CORRUPT;
    }
    return map_decode(r.p, r.left, &st->value) == OK && map_follows(&st->base, &st->value)
               ? OK
               : ERR_CORRUPT;
}
