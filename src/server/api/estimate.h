// POST /api/v1/estimate: what a batch would take, before it is made. On the network thread.
#ifndef SERVER_API_ESTIMATE_H
#define SERVER_API_ESTIMATE_H

#include "http/http.h"

void estimate_batch(struct request *r);

#endif
