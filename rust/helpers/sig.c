// SPDX-License-Identifier: GPL-2.0

#include <crypto/sig.h>

void tcp_helper_crypto_free_sig(struct crypto_sig *tfm)
{
	crypto_free_sig(tfm);
}

int tcp_helper_crypto_sig_set_pubkey(struct crypto_sig *tfm, const void *key,
				     unsigned int keylen)
{
	return crypto_sig_set_pubkey(tfm, key, keylen);
}

int tcp_helper_crypto_sig_verify(struct crypto_sig *tfm, const void *src,
				 unsigned int slen, const void *digest,
				 unsigned int dlen)
{
	return crypto_sig_verify(tfm, src, slen, digest, dlen);
}
