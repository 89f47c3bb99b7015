/* SPDX-License-Identifier: BSD-3-Clause */
/* Where modules' tables are, found in mappings that come and go, and whose headers may be wrong. */
#include "watch/record/images.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "watch/record/check.h"

enum { PAGE = 4096, PARTS = 4 };

/* Pages for a file's header, its code and its table; and, after a page of nothing, for what the table leads to. */
struct file {
	Elf64_Ehdr *header;
	Elf64_Phdr *load, *table;
	struct mrn_mapping part[PARTS];
};

/* The beginning of a table, two pages before what it leads to. */
static void set_head(char *p)
{
	static const uint8_t encodings[] = {1, 0x1b, 3, 0x3b};
	const int32_t distance = 2 * PAGE;

	memcpy(p, encodings, sizeof(encodings));
	memcpy(p + sizeof(encodings), &distance, sizeof(distance));
}

static struct file make(void)
{
	char *p = mmap(NULL, (PARTS + 1) * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct file f = {.header = (Elf64_Ehdr *)(void *)p};

	CHECK(p != MAP_FAILED);
	f.load = (Elf64_Phdr *)(f.header + 1);
	f.table = f.load + 1;
	memcpy(f.header->e_ident, ELFMAG, SELFMAG);
	f.header->e_ident[EI_CLASS] = ELFCLASS64;
	f.header->e_phoff = sizeof(Elf64_Ehdr);
	f.header->e_phentsize = sizeof(Elf64_Phdr);
	f.header->e_phnum = 2;
	f.load->p_type = PT_LOAD;
	f.load->p_vaddr = 1 << 20;
	f.table->p_type = PT_GNU_EH_FRAME;
	f.table->p_vaddr = f.load->p_vaddr + 2 * PAGE + 8;
	set_head(p + 2 * PAGE + 8);
	set_head(p + 2 * PAGE + 24);
	for (unsigned int i = 0; i < PARTS; i++)
		f.part[i] = (struct mrn_mapping){
			.start = (uintptr_t)p + (i + i / 3) * PAGE,
			.end = (uintptr_t)p + (i + i / 3 + 1) * PAGE,
			.offset = i * PAGE,
			.inode = 7,
			.readable = true,
			.executable = i == 1,
		};
	return f;
}

/* One look, which sees the file unless it is NULL. Returns whether another one is wanted. */
static bool look(const struct file *f)
{
	struct watch_images_look l;

	watch_images_begin(&l);
	for (unsigned int i = 0; f && i < PARTS; i++)
		watch_images_see(&l, &f->part[i]);
	return watch_images_end(&l, true);
}

/* Whether it is known, and its table's place in the file, 0 for none. */
static bool knows(const struct file *f, uintptr_t *table)
{
	struct watch_cfi cfi;

	if (!watch_images_find(f->part[1].start + 100, &cfi))
		return false;
	*table = cfi.table ? (uintptr_t)cfi.table - f->part[0].start : 0;
	if (cfi.table) {
		CHECK_EQ((uintptr_t)cfi.low, f->part[0].start);
		CHECK_EQ((uintptr_t)cfi.high, f->part[2].end);
		CHECK_EQ((uintptr_t)cfi.entries_low, f->part[3].start);
		CHECK_EQ((uintptr_t)cfi.entries_high, f->part[3].end);
	}
	return true;
}

TEST(a_table_is_where_the_header_says)
{
	struct file f = make();
	uintptr_t at;

	CHECK(look(&f));
	CHECK(!look(&f));
	CHECK(knows(&f, &at));
	CHECK_EQ(at, 2 * PAGE + 8);
	watch_images_unmapped(f.part[2].start, f.part[2].end);
	CHECK(!knows(&f, &at));
}
TWIN(a_table_is_where_the_header_says, unmarked, BREAK(WATCH_IMAGES));

/* What a look has read of the mappings may have gone before it is noted. */
TEST(unmapped_during_a_look)
{
	struct file f = make();
	struct watch_images_look l;
	uintptr_t at;

	watch_images_begin(&l);
	for (unsigned int i = 0; i < PARTS; i++)
		watch_images_see(&l, &f.part[i]);
	watch_images_unmapped(f.part[0].start, f.part[PARTS - 1].end);
	if (watch_images_end(&l, true))
		look(NULL);
	CHECK(!knows(&f, &at));
}
TWIN(unmapped_during_a_look, looked_once, BREAK(WATCH_ONCE));

/* Another file at the same place, of which no unmapping was seen. */
TEST(replaced_in_silence)
{
	struct file f = make();
	uintptr_t at;

	look(&f);
	look(&f);
	for (unsigned int i = 0; i < PARTS; i++)
		f.part[i].inode++;
	f.table->p_vaddr += 16;
	CHECK(look(&f));
	CHECK(!knows(&f, &at));
	look(&f);
	CHECK(knows(&f, &at));
	CHECK_EQ(at, 2 * PAGE + 24);
	look(NULL);
	CHECK(!knows(&f, &at));
}

static void check_none(const struct file *f)
{
	uintptr_t at = 1;

	look(f);
	look(f);
	CHECK(knows(f, &at));
	CHECK_EQ(at, 0);
	watch_images_unmapped(f->part[0].start, f->part[PARTS - 1].end);
}

TEST(a_wrong_header_has_no_table)
{
	struct file f = make();

	f.table->p_vaddr += 1 << 20;
	check_none(&f);
	f.table->p_vaddr = f.load->p_vaddr - 8;
	check_none(&f);
	f.table->p_vaddr = f.load->p_vaddr + 2 * PAGE + 8;
	f.part[2].readable = false;
	check_none(&f);
	f.part[2].readable = true;
	f.part[3].readable = false;
	check_none(&f);
	f.part[3].readable = true;
	f.header->e_phoff = PAGE - sizeof(Elf64_Phdr);
	check_none(&f);
	f.header->e_phoff = UINT64_MAX;
	check_none(&f);
	f.header->e_phoff = sizeof(Elf64_Ehdr);
	f.header->e_ident[0] = 0;
	check_none(&f);
}

/* There are never more than have room; the places of those that have gone are used again. */
TEST(more_than_have_room)
{
	struct file f = make();
	uintptr_t at;

	for (unsigned int i = 0; i < 2000; i++) {
		for (unsigned int part = 0; part < PARTS; part++)
			f.part[part].inode = 10 + i;
		look(&f);
		look(&f);
		CHECK(knows(&f, &at));
	}
}
