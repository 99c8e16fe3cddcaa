# One of two machines: streams to the other over rxe and the network between them.
transport-pair rdma $ID $HOST 7800 $((3 - ID)) $OTHER 7800 $MESSAGES 120
