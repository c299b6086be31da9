//! The folder for a run's Unix sockets, which does not outlive the run.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

use crate::error::Error;

/// A folder of this run alone, gone with it: also when a signal ends the run.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    signals: Handle,
    watcher: Option<JoinHandle<()>>,
}

impl Scratch {
    /// Makes the folder, and watches for what may end the run before its time.
    ///
    /// # Errors
    /// When the temporary folder does not take another one, or signals cannot be watched.
    pub(crate) fn new() -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("bench-harness-{}", std::process::id()));
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]);
        let mut signals = signals.map_err(Error::io("watching for signals"))?;
        fs::create_dir_all(&path).map_err(Error::io(format!("making {}", path.display())))?;
        let handle = signals.handle();
        let doomed = path.clone();
        let watcher = thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                end_by(signal, &doomed);
            }
        });
        Ok(Self {
            path,
            signals: handle,
            watcher: Some(watcher),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.signals.close();
        if let Some(watcher) = self.watcher.take() {
            // It only waits; a panic in it has been printed, and changes no figure.
            let _ = watcher.join();
        }
        remove(&self.path);
    }
}

/// Ends the process as the signal would have. The children follow: the kernel kills them.
fn end_by(signal: i32, folder: &Path) {
    remove(folder);
    // The line after the progress bar's.
    let above = if std::io::stderr().is_terminal() {
        "\n"
    } else {
        ""
    };
    let name = crate::host::host().name;
    eprintln!("{above}{name}: stopped by a signal; no summary was written");
    // It comes back only for a signal that does not end a process, and none is watched for.
    let _ = emulate_default_handler(signal);
}

/// Sockets that stay behind in a temporary folder harm nobody: so an error ends no run.
fn remove(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}
