//! Where the controller is: the connection file that a command uses.
//!
//! `--connect` names it, or its folder; else `TASKYARD_CONNECT` does; else it is the newest of its
//! role in the state folder, or in a folder right below that.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use taskyard_zmq::{ClientOptions, ConnectionDir, Context, ContextOptions, RemoteClient, Role};

use crate::failure::Failure;
use crate::words::Span;

/// How a command finds its controller.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The connection file that the controller has written, or its folder [default: the newest in
    /// the state folder]
    #[arg(
        long,
        value_name = "FILE",
        env = "TASKYARD_CONNECT",
        hide_env_values = true
    )]
    pub(crate) connect: Option<OsString>,
}

/// The same for those who ask something.
#[derive(Clone, Debug, Args)]
pub(crate) struct LinkArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// How long to wait for the controller's answer.
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) timeout: Span,
}

/// A connection file that is there and has a role that will do.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
}

impl ConnectArgs {
    /// The file for a command that comes in by one of these roles; in a folder it is the first's.
    ///
    /// # Errors
    /// There is none, or it is of another role.
    pub(crate) fn find(&self, roles: &[Role]) -> Result<Found, Failure> {
        let path = match self.connect.as_deref().filter(|named| !named.is_empty()) {
            Some(named) if Path::new(named).is_dir() => {
                ConnectionDir::file_of(Path::new(named), roles[0])
            }
            Some(named) => named.into(),
            None => newest(&ConnectionDir::default_path(), roles[0])?,
        };
        check_role(&path, roles)?;
        Ok(Found { path })
    }
}

impl LinkArgs {
    /// Connects as one of these roles.
    ///
    /// # Errors
    /// There is no such file, or nobody answers where it says.
    pub(crate) fn client(&self, roles: &[Role]) -> Result<RemoteClient, Failure> {
        self.client_at(roles).map(|(client, _)| client)
    }

    /// The same, and where that is.
    ///
    /// # Errors
    /// As for [`client`](Self::client).
    pub(crate) fn client_at(&self, roles: &[Role]) -> Result<(RemoteClient, String), Failure> {
        let found = self.connect.find(roles)?;
        let mut options = ClientOptions::from_connection_file(&found.path)?;
        options.connect_timeout = self.timeout.0;
        let context = Context::new(ContextOptions::default())?;
        let client = RemoteClient::connect(&context, &options);
        let endpoint = options.endpoint.to_string();
        client
            .map(|client| (client, endpoint))
            .map_err(|error| found.explain(error))
    }

    /// How long to wait for each answer.
    pub(crate) const fn patience(&self) -> Duration {
        self.timeout.0
    }
}

impl Found {
    /// The same error, with the file that led there: of nobody answering it is the first suspect.
    fn explain(&self, error: taskyard_zmq::Error) -> Failure {
        match error {
            taskyard_zmq::Error::NoAnswer {
                endpoint, waited, ..
            } => Failure::NoController {
                endpoint: endpoint.to_string(),
                waited,
                path: self.path.clone(),
            },
            other => other.into(),
        }
    }
}

/// The newest file of a role in the folder, or in a folder right below it.
fn newest(folder: &Path, role: Role) -> Result<PathBuf, Failure> {
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = below.map(|entry| entry.path()).filter(|path| path.is_dir());
    let files = std::iter::once(folder.to_owned()).chain(below);
    let files = files.map(|folder| ConnectionDir::file_of(&folder, role));
    let dated = files.filter_map(|file| Some((modified(&file)?, file)));
    let newest = dated.max();
    newest.map(|(_, file)| file).ok_or_else(|| Failure::NoFile {
        role,
        folder: folder.to_owned(),
    })
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).ok()?.modified().ok()
}

/// What cannot be read here is told by whoever reads it whole.
fn check_role(path: &Path, allowed: &[Role]) -> Result<(), Failure> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Ok(());
    };
    let parsed: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let said = parsed.as_ref().and_then(|file| file["role"].as_str());
    match said {
        Some(said) if allowed.iter().all(|role| role.name() != said) => Err(Failure::WrongRole {
            path: path.to_owned(),
            is: said.to_owned(),
            role: allowed[0],
        }),
        _ => Ok(()),
    }
}
