#!/bin/sh
# The same seeds in two processes, with different address layouts and different garbage in fresh memory: the
# traces must have the same hash.
#   determinism.sh SIM PROTOCOL FROM TO
set -eu
first=$(MALLOC_PERTURB_=17 MALLOC_CONF=junk:true "$1" --protocol "$2" --seeds "$3..$4" --hash | grep '^hash')
second=$(MALLOC_PERTURB_=201 MALLOC_CONF=junk:false setarch -R "$1" --protocol "$2" --seeds "$3..$4" --hash 2>/dev/null | grep '^hash') ||
    second=$(MALLOC_PERTURB_=201 "$1" --protocol "$2" --seeds "$3..$4" --hash | grep '^hash')
echo "$first"
echo "$second"
[ -n "$first" ] && [ "$first" = "$second" ]
