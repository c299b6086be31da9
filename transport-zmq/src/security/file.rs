//! Private files: nobody else can read them or put them there, and nobody sees half of one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Key;
use crate::Error;

/// More than a connection file ever has.
const LEN_MAX: u64 = 64 << 10;
const OURS_ALONE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Opens a folder that nobody else can write to, makes it if it is not there, and keeps other
/// controllers out of it for as long as the descriptor lives.
pub(super) fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    let refused = |reason: String| Error::ConnectionFile {
        path: path.into(),
        reason,
    };
    match fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(Errno::NOENT) => {
            return Err(refused(
                "there is no folder to make it in; make that first".into(),
            ));
        }
        Err(error) => return Err(refused(format!("the folder cannot be made: {error}"))),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => {
            refused("it is no folder, or a symbolic link to one: name the folder itself".into())
        }
        error => refused(format!("the folder cannot be opened: {error}")),
    })?;
    let stat = fs::fstat(&dir).map_err(|error| refused(error.to_string()))?;
    check_owner(&stat).map_err(refused)?;
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        return Err(refused(
            "others can write to the folder: chmod 700, or choose another".into(),
        ));
    }
    match fs::flock(&dir, fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(dir),
        Err(Errno::WOULDBLOCK) => Err(refused(
            "another controller uses the folder: give this one a --connection-dir of its own"
                .into(),
        )),
        Err(error) => Err(refused(format!("the folder cannot be locked: {error}"))),
    }
}

/// The text of a private file; `None` if there is none of that name.
pub(super) fn read(dir: BorrowedFd<'_>, path: &Path) -> Result<Option<String>, String> {
    // A pipe in its place must not hold us up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match fs::openat(dir, path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err("it is a symbolic link: name the file itself".into()),
        Err(error) => return Err(format!("it cannot be opened: {error}")),
    };
    let stat = fs::fstat(&file).map_err(|error| error.to_string())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err("it is no regular file: remove it".into());
    }
    check_owner(&stat)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::RWXG | Mode::RWXO) {
        let mode = mode.bits() & 0o7777;
        return Err(format!(
            "others may read or change it (mode {mode:04o}): chmod 600, and if they may have, \
             --fresh-keys"
        ));
    }
    let mut text = String::new();
    let read = File::from(file).take(LEN_MAX + 1).read_to_string(&mut text);
    match read {
        Ok(len) if len as u64 <= LEN_MAX => Ok(Some(text)),
        Ok(_) => Err("it is too long for a connection file".into()),
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}

/// Puts a private file in place of what was there, whole or not at all.
pub(super) fn write(dir: BorrowedFd<'_>, name: &str, text: &str) -> Result<(), String> {
    if let Ok(stat) = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        && FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
    {
        return Err("something that is no regular file is in its place: remove it".into());
    }
    let random = Key::fresh().map_err(|error| error.to_string())?;
    let [a, b, c, d, ..] = *random.bytes();
    let temporary = format!(".{name}.{:08x}", u32::from_ne_bytes([a, b, c, d]));
    write_new(dir, &temporary, text)
        .and_then(|()| fs::renameat(dir, &temporary, dir, name).map_err(Into::into))
        .map_err(|error| {
            // It may never have been there.
            let _ = fs::unlinkat(dir, &temporary, AtFlags::empty());
            format!("it cannot be written: {error}")
        })
}

fn write_new(dir: BorrowedFd<'_>, name: &str, text: &str) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(dir, name, flags, OURS_ALONE)?;
    // Whatever the umask took away.
    fs::fchmod(&file, OURS_ALONE)?;
    let mut file = File::from(file);
    file.write_all(text.as_bytes())?;
    fs::fsync(file.as_fd())?;
    Ok(())
}

fn check_owner(stat: &Stat) -> Result<(), String> {
    let ours = rustix::process::geteuid().as_raw();
    if stat.st_uid == ours {
        return Ok(());
    }
    Err(format!(
        "it belongs to user {}, and we are {ours}: copy it, or run as its owner",
        stat.st_uid
    ))
}
