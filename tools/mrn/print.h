/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Output for people fits a terminal of 80 columns, whatever the figures; JSON has all of them. Tables appear row by
 * row, each as soon as it is known, also in a pipe.
 */
#ifndef MRN_TOOL_PRINT_H
#define MRN_TOOL_PRINT_H

#include <stddef.h>
#include <stdint.h>

#define PRINT_WIDTH 80
#define PRINT_TEXT  32 /* a figure */

/* In at most width columns, 5 or more: 123456, or in 5 columns 123k. Returns text. */
const char *print_count(char text[PRINT_TEXT], uint64_t value, int width);
/* The same with this many decimals, or fewer if there is no room. */
const char *print_real(char text[PRINT_TEXT], double value, int decimals, int width);

/* As arguments: the text is there until the end of the block. */
#define COUNT(value, width)	     print_count((char[PRINT_TEXT]){""}, value, width)
#define REAL(value, decimals, width) print_real((char[PRINT_TEXT]){""}, value, decimals, width)

/* In width columns at most: the beginning, three dots, and the end from keep on, a part of label or NULL. */
void print_cut(char *text, size_t size, const char *label, const char *keep, size_t width);

/* In place: what a terminal would obey, or a line would end with, is '?'. For names that others have given. */
char *print_plain(char *text);

/* The words of text, in lines that begin with first and then with indent, on standard output. */
void print_filled(const char *first, const char *indent, const char *text);

/* A row is complete: whoever reads a pipe gets it now. */
void print_row_end(void);

#endif
