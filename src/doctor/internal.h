// What the parts of the doctor share. Threads as in doctor.h.
#ifndef DOCTOR_INTERNAL_H
#define DOCTOR_INTERNAL_H

#include "doctor/doctor.h"
#include "store/store.h"

// fmt and advice (may be NULL) are sentences for people; name, title and advice must last.
void doctor_add(struct doctor *d, const char *name, const char *title, enum finding_level level,
                const char *advice, const char *fmt, ...) KB_PRINTF(6, 7);

// Of the server that uses the data folder: its process and address. False: none runs.
bool doctor_server_running(const struct doctor *d, long *ret_pid, char ret_url[256]);

// Milliseconds until /healthz below url answered 200, negative if it did not (*err).
double doctor_ask_health(const char *url, struct kb_error *err);

// Is this the head of other machines, as far as is known?
bool doctor_has_machines(const struct doctor *d, struct store *s);

// Each looks at one side of things and adds its findings.
void doctor_look_at_server(struct doctor *d);  // port, database, log, workers, jobs
void doctor_look_at_cluster(struct doctor *d); // Redis, its user's rights, depot, machines
void doctor_look_at_machine(struct doctor *d); // processor, memory, GPU, disk
void doctor_look_at_cage(struct doctor *d);    // what workers may do
void doctor_look_at_parts(struct doctor *d);   // models, FFmpeg's codecs, speech

#endif
