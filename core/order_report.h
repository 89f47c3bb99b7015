/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_CORE_ORDER_REPORT_H
#define MRN_CORE_ORDER_REPORT_H

#include <stdint.h>

/* A driver lock that is held where a callback which takes it may be waited for. */
struct mrn_order_report {
	const char *who; /* the function that was called */
	uintptr_t caller;
	uintptr_t lock;
	uintptr_t callback;
	uintptr_t taken; /* where a callback has held it, or 0 */
};

/* Says so on stderr. Event path. */
void mrn_order_report(const struct mrn_order_report *r);

#endif
