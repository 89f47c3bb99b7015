/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef COVERAGE_CAUSE_LIBRARY_H
#define COVERAGE_CAUSE_LIBRARY_H

#define CAUSE_LIBRARY	     "mrn-cause.so"
#define CAUSE_LIBRARY_MEMORY (2 << 20)

extern char cause_library_memory[CAUSE_LIBRARY_MEMORY];

#endif
