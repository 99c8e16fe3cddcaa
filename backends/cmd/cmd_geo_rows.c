/* Rows of the geo commands. */
#include "backends/cmd/cmd_geo.h"
#include "backends/cmd/groups.h"

const struct cmd cmds_geo[] = {
    {.name = "geoadd",
     .arity = -5,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_WRITE | CMD_DENYOOM,
     .handler = geoadd_command,
     .rewrite = geoadd_rewrite,
     .group = GROUP_GEO,
     .key_specs = "RW update",
     .since = "3.2.0",
     .summary = "Adds members with positions on the globe",
     .complexity =
         "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
     .syntax = "key [condition: NX | XX] [CH:change] longitude latitude member [longitude latitude "
               "member ...]"},
    {.name = "geodist",
     .arity = -4,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_READONLY,
     .handler = geodist_command,
     .group = GROUP_GEO,
     .key_specs = "RO access",
     .since = "3.2.0",
     .summary = "Returns the distance between two members",
     .complexity = "O(log(N))",
     .syntax = "key member1 member2 [unit: M | KM | FT | MI]"},
    {.name = "geohash",
     .arity = -2,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_READONLY,
     .handler = geohash_command,
     .group = GROUP_GEO,
     .key_specs = "RO access",
     .since = "3.2.0",
     .summary = "Returns the positions of members as geohash texts",
     .complexity = "O(log(N)) for each member requested, where N is the number of elements in the "
                   "sorted set.",
     .syntax = "key member [member ...]"},
    {.name = "geopos",
     .arity = -2,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_READONLY,
     .handler = geopos_command,
     .group = GROUP_GEO,
     .key_specs = "RO access",
     .since = "3.2.0",
     .summary = "Returns the positions of members",
     .complexity = "O(N) where N is the number of members requested.",
     .syntax = "key member [member ...]"},
    {.name = "georadius",
     .arity = -6,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_WRITE | CMD_DENYOOM | CMD_MOVABLEKEYS | CMD_MULTIKEY,
     .handler = georadius_command,
     .keys = georadius_keys,
     .group = GROUP_GEO,
     .key_specs = "RO access index 1 range 0 1 0;OW update keyword STORE 6 range 0 1 0;OW update "
                  "keyword STOREDIST 6 range 0 1 0",
     .since = "3.2.0",
     .deprecated = "6.2.0 `GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
     .summary = "Finds, or stores, the members within a distance of a position",
     .complexity =
         "O(N+log(M)) where N is the number of elements inside the bounding box of the circular "
         "area delimited by center and radius and M is the number of items inside the index.",
     .syntax =
         "key longitude latitude radius <unit: M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] "
         "[count: COUNT count [ANY]] [order: ASC | DESC] [STORE key] [STOREDIST key]"},
    {.name = "georadius_ro",
     .arity = -6,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_READONLY,
     .handler = georadius_ro_command,
     .group = GROUP_GEO,
     .key_specs = "RO access",
     .since = "3.2.10",
     .deprecated = "6.2.0 `GEOSEARCH` with the `BYRADIUS` argument",
     .summary = "Finds the members within a distance of a position",
     .complexity =
         "O(N+log(M)) where N is the number of elements inside the bounding box of the circular "
         "area delimited by center and radius and M is the number of items inside the index.",
     .syntax = "key longitude latitude radius <unit: M | KM | FT | MI> [WITHCOORD] [WITHDIST] "
               "[WITHHASH] [count: COUNT count [ANY]] [order: ASC | DESC]"},
    {.name = "georadiusbymember",
     .arity = -5,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_WRITE | CMD_DENYOOM | CMD_MOVABLEKEYS | CMD_MULTIKEY,
     .handler = georadiusbymember_command,
     .keys = georadius_keys,
     .group = GROUP_GEO,
     .key_specs = "RO access index 1 range 0 1 0;OW update keyword STORE 5 range 0 1 0;OW update "
                  "keyword STOREDIST 5 range 0 1 0",
     .since = "3.2.0",
     .deprecated =
         "6.2.0 `GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
     .summary = "Finds, or stores, the members within a distance of a member",
     .complexity =
         "O(N+log(M)) where N is the number of elements inside the bounding box of the circular "
         "area delimited by center and radius and M is the number of items inside the index.",
     .syntax = "key member radius <unit: M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] "
               "[count: COUNT count [ANY]] [order: ASC | DESC] [STORE key] [STOREDIST key]"},
    {.name = "georadiusbymember_ro",
     .arity = -5,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_READONLY,
     .handler = georadiusbymember_ro_command,
     .group = GROUP_GEO,
     .key_specs = "RO access",
     .since = "3.2.10",
     .deprecated = "6.2.0 `GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
     .summary = "Finds the members within a distance of a member",
     .complexity =
         "O(N+log(M)) where N is the number of elements inside the bounding box of the circular "
         "area delimited by center and radius and M is the number of items inside the index.",
     .syntax = "key member radius <unit: M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] "
               "[count: COUNT count [ANY]] [order: ASC | DESC]"},
    {.name = "geosearch",
     .arity = -7,
     .first_key = 1,
     .last_key = 1,
     .key_step = 1,
     .flags = CMD_READONLY,
     .handler = geosearch_command,
     .group = GROUP_GEO,
     .key_specs = "RO access",
     .since = "6.2.0",
     .summary = "Finds the members inside a circle or box",
     .complexity =
         "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area "
         "around the shape provided as the filter and M is the number of items inside the shape",
     .syntax =
         "key <from: FROMMEMBER member | FROMLONLAT longitude latitude> <by: <circle: BYRADIUS "
         "radius <unit: M | KM | FT | MI>> | <box: BYBOX width, height <unit: M | KM | FT | MI>>> "
         "[order: ASC | DESC] [count: COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]"},
    {.name = "geosearchstore",
     .arity = -8,
     .first_key = 1,
     .last_key = 2,
     .key_step = 1,
     .flags = CMD_WRITE | CMD_DENYOOM | CMD_MULTIKEY,
     .handler = geosearchstore_command,
     .group = GROUP_GEO,
     .key_specs = "OW update index 1 range 0 1 0;RO access index 2 range 0 1 0",
     .since = "6.2.0",
     .summary = "Stores the members inside a circle or box under another key",
     .complexity =
         "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area "
         "around the shape provided as the filter and M is the number of items inside the shape",
     .syntax = "destination source <from: FROMMEMBER member | FROMLONLAT longitude latitude> <by: "
               "<circle: BYRADIUS radius <unit: M | KM | FT | MI>> | <box: BYBOX width, height "
               "<unit: M | "
               "KM | FT | MI>>> [order: ASC | DESC] [count: COUNT count [ANY]] [STOREDIST]"},
    {.name = NULL},
};
