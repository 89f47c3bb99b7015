/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of UCX's adapter: os/check.h. */
#ifndef MRN_UCX_CHECK_H
#define MRN_UCX_CHECK_H

#include "os/check.h"

MRN_PART(UCX_BEGIN);   /* UCX is told only after a change */
MRN_PART(UCX_END);     /* ... only before it */
MRN_PART(UCX_REENTRY); /* UCX is entered again by a change that it makes itself */
MRN_PART(UCX_CHILD);   /* a child in which it cannot be installed keeps its parent's word */
MRN_PART(UCX_TURN);    /* an install does not look again when its turn has come */
MRN_PART(UCX_CLAMP);   /* UCX is given addresses that its page table cannot go over */

MRN_PART(UCX_PAST);  /* dispatch catches the copies that UCX makes, too */
MRN_PART(UCX_AGAIN); /* a copy past dispatch that fails is not made again */

/* Not a defect: dispatch as if it bracketed nothing here. */
MRN_PART(UCX_DISPATCH_BRACKETS);

MRN_HOOK_TYPE(ucx_checked, void);    /* an install has looked at its options; its turn is next */
MRN_HOOK_TYPE(ucx_installing, void); /* it is this thread's turn to install */
MRN_HOOK_TYPE(ucx_told, void); /* UCX has been told, and does not know yet whether that is true */

#endif
