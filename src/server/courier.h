// What the server does in the network and for shared folders by itself: downloads the addresses
// that users gave instead of files, sends notices that are due, and puts results of the Duix API
// into the shared folder. Each has threads of its own, so that none waits for another: four that
// download (two from one host at most), one for notices (and the notifier's), one for the folder.
#ifndef SERVER_COURIER_H
#define SERVER_COURIER_H

#include "base/base.h"

struct courier;
struct server;

// Reads s->params and s->base_url, which must not change from now on. An asset whose download was
// under way when an earlier server ended is fetched again from its beginning.
enum kb_code courier_start(struct courier **ret, struct server *s, struct kb_error *err);
// Breaks off what is under way (it is done again by the next server). NULL is fine.
void courier_stop(struct courier **f);

#endif
