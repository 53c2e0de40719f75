// SPDX-License-Identifier: GPL-2.0

//! What root can do to the TPM without the module: a few commands, byte by byte, with empty authorizations.
//!
//! TPM 2.0 Library Specification, Part 3.

use crate::stage::Res;
use std::fs::OpenOptions;
use std::io::{
    Read as _,
    Write as _, //
};

/// NV index of the counter.
pub(crate) const COUNTER: u32 = 0x0185_4350;
/// NV index of the anchor.
pub(crate) const ANCHOR: u32 = 0x0185_4351;

/// Attributes of the counter when it is defined.
pub(crate) const COUNTER_ATTRIBUTES: u32 = 0x0206_0012;
/// Attributes of the anchor when it is defined.
pub(crate) const ANCHOR_ATTRIBUTES: u32 = 0x0206_0042;
/// Attributes of a plain index.
pub(crate) const PLAIN_ATTRIBUTES: u32 = 0x0206_0002;
/// The attribute that the first write sets.
pub(crate) const WRITTEN: u32 = 1 << 29;

const OWNER: u32 = 0x4000_0001;
const LOCKOUT: u32 = 0x4000_000a;
const SHA256: u16 = 0x000b;
/// What the response says when there is no such handle: TPM_RC_HANDLE, the first handle.
const NO_HANDLE: u32 = 0x18b;

/// Sends a command to a device of the kernel; what follows the header of the response.
fn transmit(device: &str, command: &[u8]) -> Result<Vec<u8>, u32> {
    let exchange = || {
        let mut file = OpenOptions::new().read(true).write(true).open(device)?;
        file.write_all(command)?;
        let mut response = vec![0; 4096];
        let length = file.read(&mut response)?;
        response.truncate(length);
        std::io::Result::Ok(response)
    };
    let response = exchange().map_err(|_| u32::MAX)?;
    let code = response.get(6..10).and_then(|bytes| bytes.try_into().ok());
    match code.map(u32::from_be_bytes) {
        Some(0) => Ok(response[10..].to_vec()),
        Some(code) => Err(code),
        None => Err(u32::MAX),
    }
}

/// A command with one empty password for each of the first handles.
fn command(code: u32, handles: &[u32], passwords: usize, parameters: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for handle in handles {
        body.extend(handle.to_be_bytes());
    }
    if passwords > 0 {
        body.extend(u32::try_from(9 * passwords).unwrap_or(0).to_be_bytes());
        for _ in 0..passwords {
            body.extend([0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
        }
    }
    body.extend(parameters);
    let tag: u16 = if passwords > 0 { 0x8002 } else { 0x8001 };
    let mut out = tag.to_be_bytes().to_vec();
    out.extend(u32::try_from(10 + body.len()).unwrap_or(0).to_be_bytes());
    out.extend(code.to_be_bytes());
    out.extend(body);
    out
}

/// Sends a command with one password.
fn send(what: &str, code: u32, handles: &[u32], parameters: &[u8]) -> Res<Vec<u8>> {
    transmit("/dev/tpmrm0", &command(code, handles, 1, parameters))
        .map_err(|code| format!("{what}: TPM response code {code:#x}"))
}

/// A TPM2B.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(bytes.len())
        .unwrap_or(0)
        .to_be_bytes()
        .to_vec();
    out.extend(bytes);
    out
}

/// Defines an index.
pub(crate) fn define(index: u32, attributes: u32, size: u16) -> Res {
    let mut public = index.to_be_bytes().to_vec();
    public.extend(SHA256.to_be_bytes());
    public.extend(attributes.to_be_bytes());
    public.extend([0, 0]);
    public.extend(size.to_be_bytes());
    let mut parameters = vec![0, 0];
    parameters.extend(sized(&public));
    send("NV_DefineSpace", 0x12a, &[OWNER], &parameters).map(drop)
}

/// Undefines an index, if it is there.
pub(crate) fn undefine(index: u32) -> Res {
    if attributes(index)?.is_some() {
        send("NV_UndefineSpace", 0x122, &[OWNER, index], &[])?;
    }
    Ok(())
}

/// Attributes of an index, if it is there.
pub(crate) fn attributes(index: u32) -> Res<Option<u32>> {
    match transmit("/dev/tpmrm0", &command(0x169, &[index], 0, &[])) {
        // TPM2B_NV_PUBLIC: size, index, name algorithm, attributes.
        Ok(body) => Ok(body
            .get(8..12)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_be_bytes)),
        Err(NO_HANDLE) => Ok(None),
        Err(code) => Err(format!("NV_ReadPublic: TPM response code {code:#x}")),
    }
}

/// Increments a counter.
pub(crate) fn increment(index: u32) -> Res {
    send("NV_Increment", 0x134, &[OWNER, index], &[]).map(drop)
}

/// Extends an index.
pub(crate) fn extend(index: u32, data: &[u8]) -> Res {
    send("NV_Extend", 0x136, &[OWNER, index], &sized(data)).map(drop)
}

/// Writes a plain index.
pub(crate) fn write(index: u32, data: &[u8]) -> Res {
    let mut parameters = sized(data);
    parameters.extend([0, 0]);
    send("NV_Write", 0x137, &[OWNER, index], &parameters).map(drop)
}

/// Reads an index; `None` when it is missing or was never written.
pub(crate) fn read(index: u32, size: u16) -> Res<Option<Vec<u8>>> {
    if attributes(index)?.is_none_or(|attributes| attributes & WRITTEN == 0) {
        return Ok(None);
    }
    let mut parameters = size.to_be_bytes().to_vec();
    parameters.extend([0, 0]);
    let body = send("NV_Read", 0x14e, &[OWNER, index], &parameters)?;
    // The size of the parameters, then a TPM2B.
    body.get(6..6 + usize::from(size))
        .map(|bytes| Some(bytes.to_vec()))
        .ok_or_else(|| "NV_Read: a short response".to_string())
}

/// The counter's value, 0 when there is none.
pub(crate) fn counter() -> Res<u64> {
    let value = read(COUNTER, 8)?.and_then(|bytes| bytes.try_into().ok());
    Ok(value.map_or(0, u64::from_be_bytes))
}

/// The anchor's value.
pub(crate) fn anchor() -> Res<Option<Vec<u8>>> {
    read(ANCHOR, 32)
}

/// Extends a PCR of the SHA-256 bank.
pub(crate) fn pcr_extend(pcr: u32, digest: &[u8; 32]) -> Res {
    let mut parameters = vec![0, 0, 0, 1];
    parameters.extend(SHA256.to_be_bytes());
    parameters.extend(digest);
    send("PCR_Extend", 0x182, &[pcr], &parameters).map(drop)
}

/// Sets a PCR to zeros again; only some can be.
pub(crate) fn pcr_reset(pcr: u32) -> Res {
    send("PCR_Reset", 0x13d, &[pcr], &[]).map(drop)
}

/// Clears the TPM: the owner's keys and indices are gone.
pub(crate) fn clear() -> Res {
    send("Clear", 0x126, &[LOCKOUT], &[]).map(drop)
}

/// Number of transient objects and of loaded sessions, whoever made them.
pub(crate) fn loaded() -> Res<(u32, u32)> {
    let count = |first: u32| {
        let mut parameters = Vec::new();
        for number in [1, first, 64] {
            parameters.extend(number.to_be_bytes());
        }
        let body = transmit("/dev/tpm0", &command(0x17a, &[], 0, &parameters))
            .map_err(|code| format!("GetCapability: TPM response code {code:#x}"))?;
        // moreData, capability, count.
        body.get(5..9)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_be_bytes)
            .ok_or_else(|| "GetCapability: a short response".to_string())
    };
    Ok((count(0x8000_0000)?, count(0x0200_0000)?))
}
