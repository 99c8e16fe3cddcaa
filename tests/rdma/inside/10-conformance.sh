# The transport's conformance suite over the driver's verbs.
transport-conformance rdma $HOST $MESSAGES 8
