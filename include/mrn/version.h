/* SPDX-License-Identifier: BSD-3-Clause */
/* The version of these headers. The libraries that a program meets when it runs may be of a later one: docs/abi.md. */
#ifndef MRN_VERSION_H
#define MRN_VERSION_H

#define MRN_VERSION	  "0.1.0"
#define MRN_VERSION_MAJOR 0
#define MRN_VERSION_MINOR 1
#define MRN_VERSION_PATCH 0

#endif
