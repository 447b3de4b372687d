// Who listens on a TCP port of this machine. Thread-safe (no state).
#ifndef BASE_PORT_H
#define BASE_PORT_H

#include "base/base.h"

// The program that listens on port, as "nginx (process 812)" or, where /proc does not tell whose
// socket it is, "another user's program". False: nobody listens.
bool port_owner(int port, char ret[128]);

#endif
