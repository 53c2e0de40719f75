// SPDX-License-Identifier: GPL-2.0

#include <crypto/utils.h>
#include <linux/string.h>

bool tcp_helper_crypto_memneq(const void *a, const void *b, size_t size)
{
	return crypto_memneq(a, b, size) != 0;
}

void tcp_helper_memzero_explicit(void *s, size_t count)
{
	memzero_explicit(s, count);
}
