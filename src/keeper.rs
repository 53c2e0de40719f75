// SPDX-License-Identifier: GPL-2.0

//! The keeper: what the TPM holds for this node, and the key that authenticates its state.
//!
//! See "What the TPM holds" in `Documentation/sealed-state.rst`. Nothing here is called from a hook or
//! under a spin lock: a TPM command takes milliseconds to seconds.

use crate::{
    abi::{
        clock,
        secret::Secret,
        tpm::{
            Chip,
            ResponseCode,
            Sealed,
            Tpm,
            TpmError,
            TPM_ALG_SHA256, //
        }, //
    },
    engine::{
        anchor::{
            self,
            Index,
            Next,
            Position,
            Start,
            Witness,
            ANCHOR_ATTRIBUTES,
            ANCHOR_INDEX,
            ANCHOR_SIZE,
            COUNTER_ATTRIBUTES,
            COUNTER_INDEX,
            COUNTER_SIZE,
            UNWRITTEN,
            WRITTEN, //
        },
        clock::EPOCH_STRIDE,
        refusal::Refusal,
        state, //
    },
    state_key::StateKey,
    step::step, //
};
use kernel::{
    fmt,
    prelude::*,
    str::CString, //
};

/// The counter has to stay below this, so that the numbers of an epoch's events fit.
const MAX_EPOCH: u64 = u64::MAX / EPOCH_STRIDE;

/// The PCRs that the key's policy may name.
const PCRS: u32 = (1 << state::PCRS) - 1;

/// The words of a text, each followed by one space: vendors pad their names.
struct Words<'a>(&'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .split_ascii_whitespace()
            .try_for_each(|word| write!(f, "{word} "))
    }
}

/// The last commit of this load.
#[derive(Clone, Copy)]
pub(crate) struct Committed {
    /// Number of the last event that the anchor covers.
    pub(crate) number: u64,
    /// Number of the last event when it had taken effect.
    pub(crate) settled: u64,
    /// When, in milliseconds since boot.
    pub(crate) at_ms: u64,
}

/// What everybody may see of a keeper, without waiting for the TPM.
#[derive(Clone, Copy)]
pub(crate) struct View {
    /// Whether the TPM says itself that it is software.
    pub(crate) is_software: bool,
    /// Value of the counter, 0 when there is none.
    pub(crate) counter: u64,
    /// Value of the anchor.
    pub(crate) anchor: Option<[u8; 32]>,
    /// The last commit of this load.
    pub(crate) committed: Option<Committed>,
    /// As asked for at load.
    pub(crate) settings: Settings,
    /// Writes to NV memory by this load.
    pub(crate) writes: u64,
    /// Counter of the staged state.
    pub(crate) staged: Option<u64>,
    /// Why the node is locked or recovering.
    pub(crate) reason: Option<Refusal>,
    found_ms: u64,
}

impl View {
    /// Writes to NV memory a year.
    pub(crate) fn writes_a_year(&self) -> u64 {
        let uptime_ms = clock::boottime_ms().saturating_sub(self.found_ms);
        anchor::writes_a_year(self.settings.interval_s, self.writes, uptime_ms)
    }
}

/// Settings of the module that concern the TPM.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Whether to refuse to load without a TPM.
    pub(crate) required: bool,
    /// PCRs in the state key's policy, a bit mask.
    pub(crate) pcrs: u32,
    /// Seconds between checkpoints.
    pub(crate) interval_s: u32,
}

impl Settings {
    /// Those that the module was loaded with.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a PCR that no TPM has.
    pub(crate) fn new() -> Result<Self> {
        let pcrs = crate::module_parameters::pcrs.value();
        if pcrs & !PCRS != 0 {
            pr_err!("not loaded: pcrs={pcrs:#x}: there are PCRs 0 to 23, one bit each\n");
            return Err(EINVAL);
        }
        Ok(Self {
            required: crate::module_parameters::require_tpm.value() != 0,
            pcrs,
            interval_s: crate::module_parameters::anchor_interval.value(),
        })
    }
}

/// See the [module's documentation](self). Guarded by [`crate::node::Node::admin`].
pub(crate) struct Keeper {
    chip: Chip,
    /// The node's name, from the attestation key.
    pub(crate) node: [u8; 32],
    /// Vendor and firmware of the TPM, until somebody takes them.
    pub(crate) maker: Option<CString>,
    is_software: bool,
    /// As asked for at load.
    settings: Settings,
    /// What the TPM held when it was last asked.
    pub(crate) witness: Witness,
    key: Option<StateKey>,
    /// When the TPM was found, in milliseconds since boot.
    found_ms: u64,
    writes: u64,
    /// The last commit of this load.
    pub(crate) committed: Option<Committed>,
}

/// Logs what the TPM said, and makes a refusal of it.
fn refusal(doing: &str, error: TpmError) -> Refusal {
    let refusal = match &error {
        TpmError::Code(code) if code.is(ResponseCode::LOCKOUT) => Refusal::TpmLockout,
        TpmError::Code(code)
            if code.is(ResponseCode::AUTH_FAIL) || code.is(ResponseCode::BAD_AUTH) =>
        {
            Refusal::TpmAuth
        }
        TpmError::Kernel(error) if *error == ENOMEM => Refusal::NoMemory,
        _ => Refusal::TpmFailed,
    };
    pr_err!("TPM: {doing}: {error}\n");
    refusal
}

/// Reads an index of the given kind; `None` when it was never written.
fn index<const N: usize, T>(
    tpm: &Tpm<'_>,
    handle: u32,
    attributes: u32,
    size: u16,
    value: impl FnOnce([u8; N]) -> T,
) -> Result<Index<T>, TpmError> {
    let Some(public) = tpm.nv_public(handle)? else {
        return Ok(Index::Missing);
    };
    if public.name_alg != TPM_ALG_SHA256
        || public.attributes & !WRITTEN != attributes
        || public.policy_len != 0
        || public.size != size
    {
        return Ok(Index::Foreign);
    }
    if public.attributes & WRITTEN == 0 {
        return Ok(Index::Unwritten);
    }
    Ok(match tpm.nv_read::<N>(handle)? {
        Some(bytes) => Index::Value(value(bytes)),
        None => Index::Unwritten,
    })
}

/// What both indices hold.
fn witness(tpm: &Tpm<'_>, node: [u8; 32]) -> Result<Witness, TpmError> {
    let counter = index(
        tpm,
        COUNTER_INDEX,
        COUNTER_ATTRIBUTES,
        COUNTER_SIZE,
        u64::from_be_bytes,
    )?;
    Ok(Witness {
        node,
        counter: match counter {
            // No TPM lives that long, and no event could be numbered.
            Index::Value(value) if value >= MAX_EPOCH => Index::Foreign,
            counter => counter,
        },
        anchor: index(tpm, ANCHOR_INDEX, ANCHOR_ATTRIBUTES, ANCHOR_SIZE, |bytes| {
            bytes
        })?,
    })
}

impl Keeper {
    /// Looks for the TPM and for the node's past in it; `None` when there is no TPM and none is
    /// required. On a first use the indices are defined, and in setup the counter is incremented.
    /// The refusal beside the keeper says why the node is locked.
    ///
    /// # Errors
    ///
    /// [`Refusal::TpmAbsent`], [`Refusal::TpmFailed`], [`Refusal::TpmLockout`],
    /// [`Refusal::TpmAuth`].
    // Not part of its caller's stack frame: TPM commands go deep.
    #[inline(never)]
    pub(crate) fn find(settings: Settings) -> Result<Option<(Self, Option<Refusal>)>, Refusal> {
        step("start");
        let chip = match Chip::find() {
            Ok(chip) => chip,
            Err(TpmError::Kernel(error)) if error == ENODEV && !settings.required => {
                pr_warn!("there is no TPM 2.0: unsealed, nothing will outlive a restart\n");
                return Ok(None);
            }
            Err(TpmError::Kernel(error)) if error == ENODEV => return Err(Refusal::TpmAbsent),
            Err(error) => return Err(refusal("finding it", error)),
        };
        let (node, properties, witness) = {
            let tpm = chip.open().map_err(|error| refusal("opening it", error))?;
            let properties = tpm
                .properties()
                .map_err(|error| refusal("asking what it is", error))?;
            let node = tpm
                .attestation_key_name()
                .map_err(|error| refusal("making the attestation key", error))?;
            let witness =
                witness(&tpm, node).map_err(|error| refusal("reading the indices", error))?;
            (node, properties, witness)
        };
        if properties.in_lockout {
            pr_warn!(
                "the TPM is in dictionary attack lockout; the node's own objects do not mind\n"
            );
        }
        let (major, minor) = properties.firmware;
        let maker =
            CString::try_from_fmt(fmt!("{}{major:08x}{minor:08x}", Words(properties.vendor())))
                .map_err(|_| Refusal::NoMemory)?;
        let mut keeper = Self {
            chip,
            node,
            maker: Some(maker),
            is_software: properties.is_software(),
            settings,
            witness,
            key: None,
            found_ms: clock::boottime_ms(),
            writes: 0,
            committed: None,
        };
        step("witness");
        match anchor::start(&keeper.witness) {
            Start::FirstUse {
                define_counter,
                define_anchor,
            } => {
                keeper.define(define_counter, define_anchor)?;
                keeper.increment()?;
                step("counted");
                Ok(Some((keeper, None)))
            }
            Start::Locked(reason) => Ok(Some((keeper, Some(reason)))),
        }
    }

    /// Opens the TPM for a few commands.
    fn open(&self) -> Result<Tpm<'_>, Refusal> {
        self.chip
            .open()
            .map_err(|error| refusal("opening it", error))
    }

    /// Value of the counter, 0 when there is none.
    pub(crate) fn counter(&self) -> u64 {
        match self.witness.counter {
            Index::Value(value) => value,
            _ => 0,
        }
    }

    /// Value of the anchor, `None` when there is none or it was never written.
    pub(crate) fn anchor(&self) -> Option<[u8; 32]> {
        match self.witness.anchor {
            Index::Value(value) => Some(value),
            _ => None,
        }
    }

    /// What everybody may see.
    pub(crate) fn view(&self, staged: Option<u64>, reason: Option<Refusal>) -> View {
        View {
            is_software: self.is_software,
            counter: self.counter(),
            anchor: self.anchor(),
            committed: self.committed,
            settings: self.settings,
            writes: self.writes,
            staged,
            reason,
            found_ms: self.found_ms,
        }
    }

    /// Asks the TPM again what it holds.
    ///
    /// # Errors
    ///
    /// Those of the TPM.
    pub(crate) fn look(&mut self) -> Result<(), Refusal> {
        let now = {
            let tpm = self.open()?;
            witness(&tpm, self.node).map_err(|error| refusal("reading the indices", error))?
        };
        self.witness = now;
        Ok(())
    }

    /// Defines the indices that are wanted, in the place of whatever has their handles.
    fn define(&mut self, counter: bool, anchor: bool) -> Result<(), Refusal> {
        for (wanted, handle, attributes, size) in [
            (counter, COUNTER_INDEX, COUNTER_ATTRIBUTES, COUNTER_SIZE),
            (anchor, ANCHOR_INDEX, ANCHOR_ATTRIBUTES, ANCHOR_SIZE),
        ] {
            if !wanted {
                continue;
            }
            let tpm = self.open()?;
            let there = tpm
                .nv_public(handle)
                .map_err(|error| refusal("reading an index", error))?;
            if there.is_some() {
                tpm.nv_undefine(handle)
                    .map_err(|error| refusal("undefining an index", error))?;
            }
            tpm.nv_define(handle, attributes, size)
                .map_err(|error| refusal("defining an index", error))?;
            drop(tpm);
            self.writes += 1;
            step("defined");
        }
        Ok(())
    }

    /// Makes sure that both indices are there and as they have to be, whatever was there before.
    ///
    /// # Errors
    ///
    /// Those of the TPM.
    fn repair(&mut self) -> Result<(), Refusal> {
        self.look()?;
        let counter = matches!(self.witness.counter, Index::Missing | Index::Foreign);
        let anchor = matches!(self.witness.anchor, Index::Missing | Index::Foreign);
        self.define(counter, anchor)
    }

    /// Puts both indices in order, whatever was there before, and returns the epoch that
    /// the next commit begins. `burnt` says that this load has used the next one already.
    ///
    /// # Errors
    ///
    /// Those of the TPM.
    pub(crate) fn next_epoch(&mut self, burnt: bool) -> Result<u64, Refusal> {
        self.repair()?;
        // What a counter begins with is the TPM's choice.
        if burnt || !matches!(self.witness.counter, Index::Value(_)) {
            self.increment()?;
        }
        Ok(self.counter().saturating_add(1))
    }

    /// Increments the counter and returns its new value.
    ///
    /// # Errors
    ///
    /// Those of the TPM; [`Refusal::TpmFailed`] when the counter has not risen.
    pub(crate) fn increment(&mut self) -> Result<u64, Refusal> {
        let before = self.counter();
        {
            let tpm = self.open()?;
            tpm.nv_increment(COUNTER_INDEX)
                .map_err(|error| refusal("incrementing the counter", error))?;
        }
        self.writes += 1;
        self.look()?;
        match self.witness.counter {
            Index::Value(value) if value > before => Ok(value),
            _ => {
                pr_err!("TPM: the counter has not risen by an increment\n");
                Err(Refusal::TpmFailed)
            }
        }
    }

    /// Extends the anchor. The caller looks what has come of it.
    ///
    /// # Errors
    ///
    /// Those of the TPM.
    fn extend(&mut self, head: &[u8; 32]) -> Result<(), Refusal> {
        self.open()?
            .nv_extend(ANCHOR_INDEX, head)
            .map_err(|error| refusal("extending the anchor", error))?;
        self.writes += 1;
        Ok(())
    }

    /// Where the next commit leads when it anchors `head`.
    pub(crate) fn next_position(&self, head: &[u8; 32]) -> Position {
        let previous = self.anchor().unwrap_or(UNWRITTEN);
        Position {
            counter: self.counter().saturating_add(1),
            previous,
            anchor: anchor::extended::<crate::ledger::KernelDigest>(&previous, head),
        }
    }

    /// Asks the TPM again, and whether it still holds what it did.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateConflict`] when somebody else has moved counter or anchor, and those of the
    /// TPM.
    pub(crate) fn recheck(&mut self) -> Result<(), Refusal> {
        let known = self.witness;
        self.look()?;
        if self.witness == known {
            return Ok(());
        }
        // What was known counts: a later check must find the same.
        self.witness = known;
        Err(Refusal::StateConflict)
    }

    /// What is left to do of a commit.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateConflict`] when counter or anchor are neither what they were nor what they
    /// become, and those of the TPM.
    pub(crate) fn left(&mut self, position: &Position) -> Result<Next, Refusal> {
        let known = self.witness;
        self.look()?;
        let next = anchor::next(&self.witness, position);
        if next.is_err() {
            self.witness = known;
        }
        next
    }

    /// Has the TPM take a commit. When that fails half-way it may be called again.
    ///
    /// # Errors
    ///
    /// Those of [`Keeper::left`]; [`Refusal::TpmFailed`] when the TPM says that it has taken a step
    /// and has not.
    pub(crate) fn commit(&mut self, position: &Position, head: &[u8; 32]) -> Result<(), Refusal> {
        // Extend, increment, done: a TPM that wants a fourth turn would want them for ever.
        for _ in 0..3 {
            match self.left(position)? {
                Next::Extend => {
                    step("checked");
                    self.extend(head)?;
                    step("extended");
                }
                Next::Increment => {
                    self.increment()?;
                    step("incremented");
                }
                Next::Done => return Ok(()),
            }
        }
        pr_err!("TPM: a commit does not come to its end\n");
        Err(Refusal::TpmFailed)
    }

    /// Notes that a commit has taken effect that anchors event `number`; `settled` is the number of
    /// the last event now.
    pub(crate) fn settled(&mut self, number: u64, settled: u64) {
        self.committed = Some(Committed {
            number,
            settled,
            at_ms: clock::boottime_ms(),
        });
    }

    /// The state key; made when there is none, or when its policy names other PCRs than wanted.
    ///
    /// # Errors
    ///
    /// Those of the TPM.
    pub(crate) fn key(&mut self) -> Result<&StateKey, Refusal> {
        let pcrs = self.settings.pcrs;
        let usable = self.key.as_ref().is_some_and(|key| key.pcrs == pcrs);
        if !usable {
            let secret = match self.key.take() {
                Some(key) => key.secret,
                None => Secret::random().map_err(|_| Refusal::NoMemory)?,
            };
            let sealed = {
                let tpm = self.open()?;
                let parent = tpm
                    .storage_key()
                    .map_err(|error| refusal("making the storage key", error))?;
                tpm.seal(&parent, &secret, pcrs)
                    .map_err(|error| refusal("sealing the state key", error))?
            };
            self.key = Some(StateKey {
                secret,
                sealed,
                pcrs,
            });
        }
        self.key.as_ref().ok_or(Refusal::NoMemory)
    }

    /// Has the TPM release the key of a state that somebody has given back.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateKey`] when it is not this TPM's, [`Refusal::StatePcr`] when the PCRs have
    /// other values, and those of the TPM.
    pub(crate) fn release(
        &self,
        private: &[u8],
        public: &[u8],
        pcrs: u32,
    ) -> Result<StateKey, Refusal> {
        let copy = |bytes: &[u8]| {
            let mut copy = KVec::new();
            copy.extend_from_slice(bytes, GFP_KERNEL)
                .map(|()| copy)
                .map_err(|_| Refusal::NoMemory)
        };
        let sealed = Sealed {
            private: copy(private)?,
            public: copy(public)?,
        };
        let secret = {
            let tpm = self.open()?;
            let parent = tpm
                .storage_key()
                .map_err(|error| refusal("making the storage key", error))?;
            tpm.unseal(&parent, &sealed.private, &sealed.public, pcrs)
                .map_err(|error| match &error {
                    TpmError::Code(code)
                        if code.is(ResponseCode::POLICY_FAIL)
                            || code.is(ResponseCode::PCR_CHANGED) =>
                    {
                        Refusal::StatePcr
                    }
                    // What it was given is no sealed key, or not one of its own.
                    TpmError::Foreign(_) => Refusal::StateKey,
                    TpmError::Kernel(error) if *error == EINVAL => Refusal::StateKey,
                    _ => refusal("releasing the state key", error),
                })?
        };
        Ok(StateKey {
            secret,
            sealed,
            pcrs,
        })
    }

    /// Goes on with the key of a state that was found authentic.
    pub(crate) fn adopt(&mut self, key: StateKey) {
        self.key = Some(key);
    }
}
