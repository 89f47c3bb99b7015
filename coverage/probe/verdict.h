/* SPDX-License-Identifier: BSD-3-Clause */
/* A probe's verdict on one cause under one source, in one line: "NAME\tWHY". */
#ifndef COVERAGE_PROBE_VERDICT_H
#define COVERAGE_PROBE_VERDICT_H

enum verdict {
	VERDICT_BRACKETED,     /* announced before, and until after */
	VERDICT_BEFORE_RETURN, /* announced by the time the call had returned */
	VERDICT_USE_ONCE,      /* seen; registrations there are not kept any more */
	VERDICT_MISSED,
	VERDICT_UNSUPPORTED, /* the cause, or the source, is not available here */
	NR_VERDICTS
};

#define VERDICT_NAMES                                                             \
	{                                                                         \
		"bracketed", "before_return", "use_once", "missed", "unsupported" \
	}

/* A probe's exit statuses besides 0. */
#define PROBE_NO_SOURCE 3 /* WHY says what keeps the source from being attached */

#define PROBE_PROGRAM "mrn-coverage"

#endif
