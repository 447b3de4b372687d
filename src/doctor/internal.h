// What the parts of the doctor share. Threads as in doctor.h.
#ifndef DOCTOR_INTERNAL_H
#define DOCTOR_INTERNAL_H

#include "doctor/doctor.h"

// fmt and advice (may be NULL) are sentences for people; name, title and advice must last.
void doctor_add(struct doctor *d, const char *name, const char *title, enum finding_level level,
                const char *advice, const char *fmt, ...) KB_PRINTF(6, 7);

// Each looks at one side of things and adds its findings.
void doctor_look_at_server(struct doctor *d);  // port, database, log, workers, jobs
void doctor_look_at_machine(struct doctor *d); // processor, memory, GPU, disk, cage
void doctor_look_at_parts(struct doctor *d);   // models, FFmpeg's codecs, speech

#endif
