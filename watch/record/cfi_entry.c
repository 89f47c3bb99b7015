/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/cfi_entry.h"

#include "watch/shared/check.h"

#include "os/event_path.h"

/*
 * Encodings of pointers in .eh_frame_hdr and .eh_frame. Others are possible, but all linkers and compilers for x86-64
 * write these.
 */
#define PCREL_SDATA4   0x1b
#define DATAREL_SDATA4 0x3b
#define UDATA4	       0x03

/* Longer descriptions are damaged: the longest known one, of a function in libcufft, has 60768 bytes. */
#define RECORD_MAX ((uint32_t)1 << 18)

static bool is_between(const uint8_t *low, const uint8_t *high, uintptr_t at, uintptr_t size)
{
	return at >= (uintptr_t)low && at <= (uintptr_t)high && size <= (uintptr_t)high - at;
}

static bool is_inside(const struct watch_cfi *cfi, uintptr_t at, uintptr_t size)
{
	return MRN_BROKEN(WATCH_TABLE) || is_between(cfi->low, cfi->high, at, size) ||
	       is_between(cfi->entries_low, cfi->entries_high, at, size);
}

uintptr_t watch_cfi_entries(uintptr_t table, const uint8_t head[WATCH_CFI_HEAD])
{
	if (head[0] != 1 || head[1] != PCREL_SDATA4)
		return 0;
	return table + 4 + (uintptr_t)(intptr_t)(int32_t)watch_u32(head + 4);
}

/* Where the description stands, or 0. The table is sorted by the functions' starts. */
static uintptr_t search(const struct watch_cfi *cfi, uintptr_t pc)
{
	enum { HEAD = 12, EACH = 8 };
	const uintptr_t table = (uintptr_t)cfi->table, lines = table + HEAD;
	uint32_t low = 0, high;

	if (!table || !is_inside(cfi, table, HEAD))
		return 0;
	if (cfi->table[0] != 1 || cfi->table[1] != PCREL_SDATA4 || cfi->table[2] != UDATA4 ||
	    cfi->table[3] != DATAREL_SDATA4)
		return 0;
	high = watch_u32(cfi->table + 8);
	if (!is_inside(cfi, lines, (uintptr_t)high * EACH))
		return 0;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const uint8_t *line = (const uint8_t *)lines + (uintptr_t)mid * EACH;

		if (table + (uintptr_t)(intptr_t)(int32_t)watch_u32(line) > pc)
			high = mid;
		else
			low = mid + 1;
	}
	if (!low)
		return 0;
	return table + (uintptr_t)(intptr_t)(int32_t)watch_u32((const uint8_t *)lines +
							       (uintptr_t)(low - 1) * EACH + 4);
}

/* The record at an address, without its length. */
static struct watch_bytes record(const struct watch_cfi *cfi, uintptr_t at)
{
	struct watch_bytes none = {NULL, NULL, true};
	uint32_t length;

	if (!is_inside(cfi, at, 4))
		return none;
	/* The form for 64 bits has a length that is too large, too. */
	length = watch_u32((const uint8_t *)at);
	if (length > RECORD_MAX || !is_inside(cfi, at + 4, length))
		return none;
	return (struct watch_bytes){(const uint8_t *)at + 4, (const uint8_t *)at + 4 + length,
				    false};
}

/* Goes through what each letter stands for. */
static bool read_augmentation(struct watch_bytes letters, struct watch_bytes data,
			      struct watch_cfi_entry *e)
{
	bool knows_encoding = false;
	uint8_t c;

	if (watch_bytes_u8(&letters) != 'z')
		return false;
	while ((c = watch_bytes_u8(&letters))) {
		if (c == 'R' && watch_bytes_u8(&data) == PCREL_SDATA4)
			knows_encoding = true;
		else if (c == 'L')
			watch_bytes_u8(&data);
		/* The personality routine, in four bytes; before an R that is to be found. */
		else if (c == 'P' && (watch_bytes_u8(&data) & 0x07) == UDATA4)
			watch_bytes_skip(&data, 4);
		else if (c == 'S')
			e->is_signal_frame = true;
		else
			return false;
	}
	return knows_encoding && !data.failed;
}

static bool read_common(const struct watch_cfi *cfi, uintptr_t at, struct watch_cfi_entry *e)
{
	struct watch_bytes b = record(cfi, at), letters;
	uint8_t version;

	if (b.failed)
		return false;
	watch_bytes_skip(&b, 4);
	version = watch_bytes_u8(&b);
	letters = b;
	while (watch_bytes_u8(&b))
		;
	letters.end = b.p;
	e->code_align = watch_bytes_uleb(&b);
	e->data_align = watch_bytes_sleb(&b);
	e->is_signal_frame = false;
	if (version != 1 || watch_bytes_u8(&b) != WATCH_REG_RA)
		return false;
	if (!read_augmentation(letters, watch_bytes_block(&b), e))
		return false;
	e->common = b;
	return !b.failed;
}

bool watch_cfi_find(const struct watch_cfi *cfi, uintptr_t pc, struct watch_cfi_entry *e)
{
	uintptr_t at = search(cfi, pc), link;
	struct watch_bytes b;

	if (!at)
		return false;
	b = record(cfi, at);
	link = (uintptr_t)b.p;
	link -= watch_bytes_u32(&b);
	e->start = watch_bytes_pcrel(&b);
	if (pc < e->start || pc - e->start >= watch_bytes_u32(&b))
		return false;
	watch_bytes_block(&b);
	e->own = b;
	return !b.failed && read_common(cfi, link, e);
}
