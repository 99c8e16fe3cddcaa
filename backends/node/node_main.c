#include "backends/node/node.h"

int main(int argc, char **argv)
{
    return node_main(argc, argv);
}
