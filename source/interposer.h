/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How libmrn and libmrn-interpose find each other, which are two libraries because nobody should get
 * the second one's munmap without asking for it.
 */
#ifndef MRN_SOURCE_INTERPOSER_H
#define MRN_SOURCE_INTERPOSER_H

#include <stdbool.h>

/* Called by libmrn-interpose's constructor: its wrappers are in this process. */
void mrn_interposer_present(void);

bool mrn_interposer_is_present(void);

#endif
