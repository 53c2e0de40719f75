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
    os::{
        fd::AsFd,
        unix::fs::{
            DirBuilderExt,
            MetadataExt,
            OpenOptionsExt, //
        }, //
    },
    path::{
        Path,
        PathBuf, //
    }, //
};

use nix::{
    errno::Errno,
    fcntl::{
        openat,
        posix_fadvise,
        renameat,
        Flock,
        FlockArg,
        OFlag,
        PosixFadviseAdvice,
        AT_FDCWD, //
    },
    sys::stat::Mode,
    unistd::{
        geteuid,
        unlinkat,
        UnlinkatFlags, //
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

/// Reads a regular file below an open directory: neither through a symbolic link, nor from a pipe that would block.
fn read_regular(below: impl AsFd, name: &Path, shown: &Path, limit: usize) -> Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let irregular = || {
        Error::invalid(
            "not_a_file",
            format!(
                "{} is not a regular file: neither symbolic links nor pipes are read here; name the file itself",
                shown.display()
            ),
        )
    };
    let file = match openat(below, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ELOOP) => return Err(irregular()),
        Err(errno) => return Err(Error::file("read", shown, errno.into())),
    };
    let wrong = |source| Error::file("read", shown, source);
    if !file.metadata().map_err(wrong)?.is_file() {
        return Err(irregular());
    }
    // What the page cache has been told is no proof: what has been flushed is read from the disk again. A file system
    // that cannot drop its pages (one in memory) has no other copy.
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let take = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let count = file.take(take).read_to_end(&mut bytes).map_err(wrong)?;
    if count > limit {
        return Err(Error::invalid(
            "too_large",
            format!("{} is longer than {limit} bytes", shown.display()),
        ));
    }
    Ok(bytes)
}

/// Reads a regular file of at most `limit` bytes that somebody else may have put there.
///
/// # Errors
///
/// [`Error::Io`], or [`Error::Invalid`] `not_a_file`, `too_large`.
pub(crate) fn read_plain(path: &Path, limit: usize) -> Result<Vec<u8>> {
    read_regular(AT_FDCWD, path, path, limit)
}

/// A private directory. Its files are reached through it, never by a symbolic link, and only its owner can change it.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    handle: File,
}

impl Directory {
    /// Opens a directory.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when it does not exist or is a symbolic link; [`Error::Invalid`] `directory_unsafe` when others own
    /// it or can write to it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
            .open(path)
            .map_err(|source| Error::file("open the directory", path, source))?;
        let of = handle
            .metadata()
            .map_err(|source| Error::file("open the directory", path, source))?;
        let user = geteuid().as_raw();
        if of.uid() != user || of.mode() & 0o022 != 0 {
            return Err(Error::invalid(
                "directory_unsafe",
                format!(
                    "{path} belongs to user {owner} and has mode {mode:o}: others could change what stands in it; run \
                     `chown {user} {path} && chmod 700 {path}`",
                    path = path.display(),
                    owner = of.uid(),
                    mode = of.mode() & 0o7777,
                ),
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            handle,
        })
    }

    /// Opens a directory, and makes it where it is missing: for its owner alone, and lasting.
    ///
    /// # Errors
    ///
    /// As [`Directory::open`].
    pub(crate) fn create(path: &Path) -> Result<Self> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => File::open(directory(path))
                .and_then(|parent| parent.sync_all())
                .map_err(|source| Error::file("create", path, source))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::file("create", path, source)),
        }
        Self::open(path)
    }

    /// Keeps every other program that asks for the same away, until the lock is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(crate) fn lock(&self) -> Result<Flock<File>> {
        // An open file of its own: the lock then ends with the guard, whatever becomes of this one.
        let own = openat(
            &self.handle,
            ".",
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| Error::file("lock", &self.path, errno.into()))?;
        Flock::lock(File::from(own), FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::file("lock", &self.path, errno.into()))
    }

    /// Permission bits of the directory.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(crate) fn mode(&self) -> Result<u32> {
        self.handle
            .metadata()
            .map(|of| of.mode() & 0o7777)
            .map_err(|source| Error::file("open the directory", &self.path, source))
    }

    /// Path of the directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a file in it.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a regular file of at most `limit` bytes; [`None`] when there is none of that name.
    ///
    /// # Errors
    ///
    /// As [`read_plain`].
    pub(crate) fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        match read_regular(&self.handle, Path::new(name), &self.path_of(name), limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a new file for the owner alone, in place of one of that name. Nothing is flushed yet.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; then there is no file of that name.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<File> {
        self.remove(name)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let wrong = |source| Error::file("write", &self.path_of(name), source);
        let mut file = openat(&self.handle, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map(File::from)
            .map_err(|errno| wrong(errno.into()))?;
        file.write_all(bytes).map_err(|source| {
            // It would only take the room that is missing.
            let _ = self.remove(name);
            wrong(source)
        })?;
        Ok(file)
    }

    /// Renames a file over another one. It lasts once the directory has been flushed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        renameat(&self.handle, from, &self.handle, to)
            .map_err(|errno| Error::file("rename", &self.path_of(from), errno.into()))
    }

    /// Removes a file, if there is one of that name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::file("remove", &self.path_of(name), errno.into())),
        }
    }

    /// Flushes the names in the directory.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(crate) fn sync(&self) -> Result<()> {
        self.handle
            .sync_all()
            .map_err(|source| Error::file("flush", &self.path, source))
    }
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
    fn a_private_directory_is_made_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        let made = Directory::create(&path).unwrap();
        assert_eq!(made.mode().unwrap(), 0o700);
        Directory::create(&path).unwrap();
        for mode in [0o777, 0o770, 0o702] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Directory::create(&path).unwrap_err();
            assert_eq!(error.code(), "directory_unsafe");
            assert!(error.to_string().contains("chmod 700"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(Directory::open(&path).unwrap().mode().unwrap(), 0o755);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(Directory::create(&link).unwrap_err().errno(), 20);
        assert_eq!(
            Directory::open(&dir.path().join("none"))
                .unwrap_err()
                .errno(),
            2
        );
        assert_eq!(
            Directory::create(&dir.path().join("none/d"))
                .unwrap_err()
                .errno(),
            2
        );
    }

    #[test]
    fn only_regular_files_of_a_directory_are_read_and_written() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::create(&dir.path().join("d")).unwrap();
        assert_eq!(directory.read("f", 9).unwrap(), None);
        directory.write("f", b"one").unwrap();
        let mode = fs::metadata(directory.path_of("f")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(directory.read("f", 3).unwrap().unwrap(), b"one");
        assert_eq!(directory.read("f", 2).unwrap_err().code(), "too_large");
        let secret = dir.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        std::os::unix::fs::symlink(&secret, directory.path_of("link")).unwrap();
        nix::unistd::mkfifo(&directory.path_of("fifo"), Mode::S_IRWXU).unwrap();
        for name in ["link", "fifo", "."] {
            assert_eq!(directory.read(name, 9).unwrap_err().code(), "not_a_file");
        }
        let error = read_plain(&directory.path_of("link"), 9).unwrap_err();
        assert_eq!(error.code(), "not_a_file");
        assert_eq!(
            read_plain(Path::new("/dev/zero"), 9).unwrap_err().code(),
            "not_a_file"
        );
        directory.write("link", b"two").unwrap();
        assert_eq!(fs::read(&secret).unwrap(), b"secret");
        directory.rename("link", "f").unwrap();
        directory.sync().unwrap();
        assert_eq!(directory.read("f", 9).unwrap().unwrap(), b"two");
        directory.remove("f").unwrap();
        directory.remove("f").unwrap();
        assert_eq!(directory.rename("f", "g").unwrap_err().errno(), 2);
    }

    #[test]
    fn a_name_that_is_taken_by_a_directory_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::create(&dir.path().join("d")).unwrap();
        fs::create_dir(directory.path_of("taken")).unwrap();
        assert_eq!(directory.write("taken", b"x").unwrap_err().code(), "io");
        assert!(directory.path_of("taken").is_dir());
    }

    #[test]
    fn one_holds_the_lock_of_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::create(&dir.path().join("d")).unwrap();
        let held = directory.lock().unwrap();
        let second = || {
            Flock::lock(
                File::open(dir.path().join("d")).unwrap(),
                FlockArg::LockExclusiveNonblock,
            )
            .is_ok()
        };
        assert!(!second());
        drop(held);
        assert!(second());
    }

    #[test]
    fn names_beside_a_path() {
        assert_eq!(beside(Path::new("/a/k"), ".pub"), Path::new("/a/k.pub"));
        assert_eq!(directory(Path::new("k")), Path::new("."));
        assert_eq!(directory(Path::new("/a/k")), Path::new("/a"));
    }
}
