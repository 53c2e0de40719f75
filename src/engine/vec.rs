// SPDX-License-Identifier: GPL-2.0

//! Growable memory, the only allocation of the engine.
//!
//! In the kernel a [`Vec`] is a `KVVec` filled with `GFP_KERNEL`, so growing one may sleep; in
//! user space it is the standard one. Either way, lack of memory is an error and never a panic.

use core::{
    fmt,
    ops::{
        Deref,
        DerefMut, //
    }, //
};

#[cfg(CONFIG_RUST)]
use kernel::alloc::{
    flags::GFP_KERNEL,
    KVVec, //
};

/// There is no memory left for the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory")
    }
}

/// A contiguous growable array whose growth can fail.
///
/// Reading and writing elements goes through `Deref<Target = [T]>`.
pub struct Vec<T> {
    #[cfg(CONFIG_RUST)]
    inner: KVVec<T>,
    #[cfg(not(CONFIG_RUST))]
    inner: alloc::vec::Vec<T>,
}

impl<T> Vec<T> {
    /// Returns an empty array, without allocating.
    pub const fn new() -> Self {
        Self {
            #[cfg(CONFIG_RUST)]
            inner: KVVec::new(),
            #[cfg(not(CONFIG_RUST))]
            inner: alloc::vec::Vec::new(),
        }
    }

    /// Returns an empty array with room for `capacity` elements.
    pub fn with_capacity(capacity: usize) -> Result<Self, NoMemory> {
        let mut vec = Self::new();
        vec.reserve(capacity)?;
        Ok(vec)
    }

    /// Makes room for at least `additional` more elements.
    pub fn reserve(&mut self, additional: usize) -> Result<(), NoMemory> {
        #[cfg(CONFIG_RUST)]
        return self
            .inner
            .reserve(additional, GFP_KERNEL)
            .map_err(|_| NoMemory);
        #[cfg(not(CONFIG_RUST))]
        return self.inner.try_reserve(additional).map_err(|_| NoMemory);
    }

    /// Appends one element.
    pub fn push(&mut self, value: T) -> Result<(), NoMemory> {
        self.reserve(1)?;
        #[cfg(CONFIG_RUST)]
        self.inner
            .push_within_capacity(value)
            .map_err(|_| NoMemory)?;
        #[cfg(not(CONFIG_RUST))]
        self.inner.push(value);
        Ok(())
    }

    /// Appends all elements of `values`, or none of them.
    pub fn extend_from_slice(&mut self, values: &[T]) -> Result<(), NoMemory>
    where
        T: Copy,
    {
        self.reserve(values.len())?;
        #[cfg(CONFIG_RUST)]
        self.inner
            .extend_from_slice(values, GFP_KERNEL)
            .map_err(|_| NoMemory)?;
        #[cfg(not(CONFIG_RUST))]
        self.inner.extend_from_slice(values);
        Ok(())
    }

    /// Appends `value` until the array holds `len` elements; a longer array stays as it is.
    pub fn fill_to(&mut self, len: usize, value: T) -> Result<(), NoMemory>
    where
        T: Copy,
    {
        self.reserve(len.saturating_sub(self.len()))?;
        while self.len() < len {
            self.push(value)?;
        }
        Ok(())
    }

    /// Inserts one element before the one at `index`; an `index` past the end appends.
    pub fn insert(&mut self, index: usize, value: T) -> Result<(), NoMemory> {
        self.push(value)?;
        if let Some(tail) = self.get_mut(index..) {
            if !tail.is_empty() {
                tail.rotate_right(1);
            }
        }
        Ok(())
    }

    /// Returns the elements.
    pub fn as_slice(&self) -> &[T] {
        &self.inner
    }

    /// Returns the elements, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.inner
    }
}

impl<T> Default for Vec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for Vec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T> DerefMut for Vec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.as_mut_slice()
    }
}

impl<T: fmt::Debug> fmt::Debug for Vec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Vec<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Eq> Eq for Vec<T> {}

impl<'a, T> IntoIterator for &'a Vec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
