/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Static probes for perf, bpftrace, gdb and SystemTap: provider mrn. A probe is one nop and a note in the ELF file that
 * says where it is and where its arguments are; without <sys/sdt.h> it is nothing at all. docs/probes.md lists them.
 * Arguments have no side effects, and cost nothing to compute: where nobody looks, nobody asks.
 */
#ifndef MRN_OS_PROBE_H
#define MRN_OS_PROBE_H

#ifdef MRN_HAVE_SDT
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define MRN_PROBE(name, ...) STAP_PROBEV(mrn, name, __VA_ARGS__)
#else
#define MRN_PROBE(name, ...) ((void)0)
#endif

#endif
