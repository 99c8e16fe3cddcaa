/* halcyon-proxy. */
#include "proxy/proxy.h"

int main(int argc, char **argv)
{
    return proxy_run(argc, argv);
}
