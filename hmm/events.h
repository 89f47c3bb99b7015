/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens to a space: page faults of the CPU, and other code's unmappings. */
#ifndef MRN_HMM_EVENTS_H
#define MRN_HMM_EVENTS_H

#include "hmm/space.h"

/* ---- fault.c */

/* In a handler: serves a fault, or calls a worker for it. Never waits for other code. */
void mrn_hmm_serve(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f);
/* In a worker: serves the fault for which it was called. */
void mrn_hmm_serve_asked(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f);

/* ---- lost.c */

/*
 * Marks pages that have been unmapped. The caller holds `ours` for writing, so no thread is between its check of LOST
 * and its system call.
 */
void mrn_hmm_mark_lost(struct mrn_hmm *hmm, uintptr_t start, uintptr_t end);
/* Announces the marked pages, and turns them into holes. */
void mrn_hmm_lose(struct mrn_hmm *hmm);

/* ---- handler.c */

/* Called in the keeper with the space: the handlers share the keeper's descriptor table. 0, or -errno with none left. */
int mrn_hmm_handlers_start(void *hmm);
void mrn_hmm_handlers_stop(struct mrn_hmm *hmm);

#endif
