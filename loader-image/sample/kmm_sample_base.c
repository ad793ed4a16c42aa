// SPDX-License-Identifier: GPL-2.0
/* The module that kmm_sample depends on: depmod finds the exported symbol, modprobe loads this one first. */
#include <linux/module.h>

#include "kmm_sample_base.h"

/* Adler-32 (RFC 1950): small, and every zlib can check it. */
u32 kmm_sample_checksum(const u8 *data, size_t size)
{
	u32 low = 1, high = 0;

	while (size--) {
		low = (low + *data++) % 65521;
		high = (high + low) % 65521;
	}
	return high << 16 | low;
}
EXPORT_SYMBOL_GPL(kmm_sample_checksum);

MODULE_DESCRIPTION("Checksum for kmm_sample");
MODULE_LICENSE("GPL");
