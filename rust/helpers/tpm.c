// SPDX-License-Identifier: GPL-2.0

#include <linux/device.h>
#include <linux/tpm.h>

/* Rust takes what follows the structure for the data. */
static_assert(offsetof(struct tpm_buf, data) == sizeof(struct tpm_buf));

bool tcp_helper_tpm_buf_is_invalid(const struct tpm_buf *buf)
{
	return buf->flags & TPM_BUF_INVALID;
}

void tcp_helper_tpm_chip_put(struct tpm_chip *chip)
{
	put_device(&chip->dev);
}
