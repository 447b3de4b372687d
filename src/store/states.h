// The words of the schema that more than one room has to know. Constants only, no state:
// thread-safe.
#ifndef STORE_STATES_H
#define STORE_STATES_H

// Of a job: queued, the running ones, both of them, the ended ones. Lists for SQL's IN.
#define JOB_STATES_RUNNING "('loading', 'audio', 'preprocessing', 'generating', 'finishing')"
#define JOB_STATES_OPEN    "('queued', 'loading', 'audio', 'preprocessing', 'generating', 'finishing')"
#define JOB_STATES_ENDED   "('done', 'failed', 'cancelled', 'skipped')"

// Why a job j is still queued, a column; NULL when it is not queued.
#define JOB_WAITING " CASE WHEN j.state = 'queued' THEN j.waiting END "

#define JOB_MAX_ATTEMPTS 3

#endif
