/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KMM_SAMPLE_BASE_H
#define KMM_SAMPLE_BASE_H

#include <linux/types.h>

u32 kmm_sample_checksum(const u8 *data, size_t size);

#endif
