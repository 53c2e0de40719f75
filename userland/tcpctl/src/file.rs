// SPDX-License-Identifier: GPL-2.0

//! Files that must not be lost or half written.

use std::{
    fs::{
        self,
        File,
        OpenOptions, //
    },
    io::{
        self,
        Read,
        Write, //
    },
    os::unix::fs::OpenOptionsExt,
    path::{
        Path,
        PathBuf, //
    }, //
};

use crate::{
    error::{
        Error,
        Result, //
    },
    output::Output, //
};

/// A path with something behind its last component: `key` and `.pub` make `key.pub`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directory that a file stands in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn exists(path: &Path) -> Error {
    Error::invalid(
        "exists",
        format!(
            "{} exists already: choose another name, or replace it with --force",
            path.display()
        ),
    )
}

/// Refuses a name that is taken, before anything is written.
///
/// # Errors
///
/// [`Error::Invalid`] `exists`.
pub(crate) fn must_not_exist(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(exists(path)),
        // Whatever else is wrong with it shows when it is created.
        Err(_) => Ok(()),
    }
}

/// Creates a file that must not exist yet.
///
/// # Errors
///
/// [`Error::Invalid`] `exists` when it does.
pub(crate) fn create(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => Error::file("create", path, source),
        })?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(directory(path))?.sync_all())
        .map_err(|source| Error::file("write", path, source))
}

/// Replaces a file at once: whoever reads it sees the old or the new content, and after a power loss there is one of
/// them.
///
/// # Errors
///
/// [`Error::Io`]; the old file is untouched then.
pub(crate) fn replace(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    let temporary = beside(path, &format!(".tmp{}", std::process::id()));
    let written = || -> io::Result<()> {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(directory(path))?.sync_all()
    };
    written().map_err(|source| {
        // Best effort: the temporary file is of no use to anybody.
        let _ = fs::remove_file(&temporary);
        Error::file("write", path, source)
    })
}

/// Whether `--out` names standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdout")
}

/// Writes what `--out` asks for: to standard output for `-`, into what is there and is not a regular file (a pipe, a
/// terminal), else as [`replace`].
///
/// # Errors
///
/// Those of [`Output::raw`] and [`replace`].
pub(crate) fn write_out(path: &Path, mode: u32, bytes: &[u8], output: &Output) -> Result<()> {
    if is_stdout(path) {
        return output.raw(bytes);
    }
    // What does not exist, or cannot be looked at, is left to `replace`.
    if fs::metadata(path).map_or(true, |of| of.is_file()) {
        return replace(path, mode, bytes);
    }
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|source| Error::file("write", path, source))
}

/// Reads a file, or standard input for `-`, of at most `limit` bytes.
///
/// # Errors
///
/// [`Error::Io`], or [`Error::Invalid`] `too_large`.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let take = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let count = if path == Path::new("-") {
        io::stdin().lock().take(take).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(take).read_to_end(&mut bytes))
    }
    .map_err(|source| Error::file("read", path, source))?;
    if count > limit {
        return Err(Error::invalid(
            "too_large",
            format!("{} is longer than {limit} bytes", path.display()),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_created_once_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, 0o600, b"one").unwrap();
        assert_eq!(create(&path, 0o600, b"two").unwrap_err().code(), "exists");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        replace(&path, 0o644, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_is_written_into() {
        let output = Output {
            json: false,
            colour: false,
        };
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        write_out(&link, 0o644, b"x", &output).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let file = dir.path().join("file");
        write_out(&file, 0o644, b"one", &output).unwrap();
        write_out(&file, 0o644, b"two", &output).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        let error = write_out(dir.path(), 0o644, b"x", &output).unwrap_err();
        assert_eq!(error.errno(), 21);
        assert!(is_stdout(Path::new("-")) && !is_stdout(&file));
    }

    #[test]
    fn what_cannot_be_written_is_reported() {
        let path = Path::new("/nonexistent-directory/file");
        assert_eq!(create(path, 0o600, b"").unwrap_err().errno(), 2);
        assert_eq!(replace(path, 0o600, b"").unwrap_err().errno(), 2);
        assert_eq!(read(path, 1).unwrap_err().errno(), 2);
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().code(), "too_large");
    }

    #[test]
    fn names_beside_a_path() {
        assert_eq!(beside(Path::new("/a/k"), ".pub"), Path::new("/a/k.pub"));
        assert_eq!(directory(Path::new("k")), Path::new("."));
        assert_eq!(directory(Path::new("/a/k")), Path::new("/a"));
    }
}
