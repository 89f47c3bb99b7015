/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/thread.h"

MRN_TLS char mrn_thread_mark;
