# The conformance suite again with slabs of 1 KiB (fragments, few bytes per credit) and busy polling.
transport-conformance rdma $HOST $((MESSAGES / 20)) 8 1024 200
