/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One line that says how far a command is, on a terminal's standard error and nowhere else.
 */
#ifndef MRN_TOOL_PROGRESS_H
#define MRN_TOOL_PROGRESS_H

/* Writes the line over the one before. */
__attribute__((format(printf, 1, 2))) void progress_show(const char *format, ...);
/* To be called before anything else is written there. */
void progress_remove(void);

#endif
